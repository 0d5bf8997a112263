"""SSD with a MobileNetV1 backbone, 300x300 images, the 21 classes of Pascal VOC.

Liu et al., "SSD: single shot multibox detector" (2016); Howard et al., "MobileNets" (2017). The
layout is the one widely used with PyTorch as "mb1-ssd": features after the 12th and the last
block of the backbone and after four extra layers, six boxes at each place: 3,000 boxes from maps
of 19, 10, 5, 3, 2 and 1 cells a side, 9,468,996 parameters. Outputs are the raw class scores
(3000, 21) and box offsets (3000, 4) before decoding and non-maximum suppression.
"""

import torch
from torch import nn

CLASSES = 21
BOXES_PER_CELL = 6
# channels, stride of the depthwise-separable blocks
BACKBONE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
EXTRAS = ((256, 512), (128, 256), (128, 256), (128, 256))  # narrow, wide


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(
        depthwise,
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        pointwise,
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def extra(inputs: int, narrow: int, wide: int) -> nn.Sequential:
    shrink = nn.Conv2d(inputs, narrow, 1)
    return nn.Sequential(shrink, nn.ReLU(), nn.Conv2d(narrow, wide, 3, 2, padding=1), nn.ReLU())


def per_box(feature_map: torch.Tensor, values: int) -> torch.Tensor:
    """(n, boxes * values, h, w) -> (n, h * w * boxes, values)."""
    return feature_map.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


class SsdMobileNetV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        ]
        inputs = 32
        for outputs, stride in BACKBONE:
            layers.append(separable(inputs, outputs, stride))
            inputs = outputs
        stages = [nn.Sequential(*layers[:12]), nn.Sequential(*layers[12:])]
        widths = [512, 1024]
        for narrow, wide in EXTRAS:
            stages.append(extra(inputs, narrow, wide))
            widths.append(wide)
            inputs = wide
        self.stages = nn.ModuleList(stages)
        self.class_heads = nn.ModuleList(
            nn.Conv2d(width, BOXES_PER_CELL * CLASSES, 3, padding=1) for width in widths
        )
        self.box_heads = nn.ModuleList(
            nn.Conv2d(width, BOXES_PER_CELL * 4, 3, padding=1) for width in widths
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = [], []
        for stage, class_head, box_head in zip(
            self.stages, self.class_heads, self.box_heads, strict=True
        ):
            x = stage(x)
            scores.append(per_box(class_head(x), CLASSES))
            boxes.append(per_box(box_head(x), 4))
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1)


def ssd_mobilenetv1() -> nn.Module:
    return SsdMobileNetV1()
