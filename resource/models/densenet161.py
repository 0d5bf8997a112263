"""DenseNet-161 (Huang et al., "Densely connected convolutional networks", 2016)."""

import torch
from torch import nn

GROWTH = 48
STAGES = (6, 12, 36, 24)  # layers of each dense block


def bn_relu_conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(), conv]


class DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *bn_relu_conv(inputs, 4 * GROWTH, 1), *bn_relu_conv(4 * GROWTH, GROWTH, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.body(x)), dim=1)


def densenet161() -> nn.Module:
    channels = 2 * GROWTH
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    for stage, count in enumerate(STAGES):
        for _ in range(count):
            layers.append(DenseLayer(channels))
            channels += GROWTH
        if stage < len(STAGES) - 1:
            layers += [*bn_relu_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *head)
