"""MNASNet-B1, depth multiplier 1.0 (Tan et al., "MnasNet", 2018)."""

import torch
from torch import nn

# channels, kernel, stride of the first block, expansion, blocks
STAGES = (
    (24, 3, 2, 3, 3),
    (40, 5, 2, 3, 3),
    (80, 5, 2, 6, 3),
    (96, 3, 1, 6, 2),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.body = nn.Sequential(
            *conv_bn(inputs, wide, 1),
            nn.ReLU(),
            *conv_bn(wide, wide, kernel, stride, groups=wide),
            nn.ReLU(),
            *conv_bn(wide, outputs, 1),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.has_shortcut else self.body(x)


def mnasnet1_0() -> nn.Module:
    stem = [*conv_bn(3, 32, 3, 2), nn.ReLU(), *conv_bn(32, 32, 3, groups=32), nn.ReLU()]
    layers: list[nn.Module] = [*stem, *conv_bn(32, 16, 1)]
    inputs = 16
    for outputs, kernel, stride, expansion, blocks in STAGES:
        for block in range(blocks):
            first_stride = stride if block == 0 else 1
            layers.append(InvertedResidual(inputs, outputs, kernel, first_stride, expansion))
            inputs = outputs
    layers += [*conv_bn(inputs, 1280, 1), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head)
