"""GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2014), with batch normalisation.

The form that is served: without the two auxiliary heads, which only training uses. As in the
published PyTorch weights, the 5x5 branch of an inception block has a 3x3 kernel (6,624,904
parameters).
"""

import torch
from torch import nn

POOL = "pool"
# 1x1; narrow, wide of the 3x3 branch; narrow, wide of the 5x5 branch; pool projection
BLOCKS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    POOL,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    POOL,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU())


class Inception(nn.Module):
    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, narrow3, wide3, narrow5, wide5, pool = widths
        self.branches = nn.ModuleList(
            (
                conv_bn_relu(inputs, one, 1),
                nn.Sequential(conv_bn_relu(inputs, narrow3, 1), conv_bn_relu(narrow3, wide3, 3)),
                nn.Sequential(conv_bn_relu(inputs, narrow5, 1), conv_bn_relu(narrow5, wide5, 3)),
                nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv_bn_relu(inputs, pool, 1)),
            )
        )
        self.outputs = one + wide3 + wide5 + pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def googlenet() -> nn.Module:
    layers: list[nn.Module] = [
        conv_bn_relu(3, 64, 7, 2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        conv_bn_relu(64, 64, 1),
        conv_bn_relu(64, 192, 3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]
    inputs = 192
    pool_kernels = iter((3, 2))
    for widths in BLOCKS:
        if widths == POOL:
            layers.append(nn.MaxPool2d(next(pool_kernels), 2, ceil_mode=True))
        else:
            block = Inception(inputs, widths)
            layers.append(block)
            inputs = block.outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(inputs, 1000)]
    return nn.Sequential(*layers, *head)
