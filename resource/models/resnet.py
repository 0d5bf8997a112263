"""ResNet (He et al., "Deep residual learning for image recognition", 2015).

The stride of a bottleneck sits in its 3x3 convolution ("v1.5"), as in the published weights.
"""

import torch
from torch import nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, body: list[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def basic(inputs: int, width: int, stride: int) -> Residual:
    body = [*conv_bn(inputs, width, 3, stride), nn.ReLU(), *conv_bn(width, width, 3)]
    return Residual(inputs, width, stride, body)


def bottleneck(inputs: int, width: int, stride: int) -> Residual:
    narrow = [*conv_bn(inputs, width, 1), nn.ReLU(), *conv_bn(width, width, 3, stride), nn.ReLU()]
    return Residual(inputs, 4 * width, stride, [*narrow, *conv_bn(width, 4 * width, 1)])


def resnet18() -> nn.Module:
    stages = []
    inputs = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        stages += [basic(inputs, width, stride), basic(width, width, 1)]
        inputs = width
    return with_stem_and_head(stages, inputs)


def resnet50() -> nn.Module:
    stages = []
    inputs = 64
    for width, stride, blocks in ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3)):
        for block in range(blocks):
            stages.append(bottleneck(inputs, width, stride if block == 0 else 1))
            inputs = 4 * width
    return with_stem_and_head(stages, inputs)


def with_stem_and_head(stages: list[nn.Module], features: int) -> nn.Module:
    stem = [*conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 1000)]
    return nn.Sequential(*stem, *stages, *head)
