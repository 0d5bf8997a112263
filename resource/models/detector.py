"""A small detector that cuts what it found out of the image: four places, four crops.

Five strided convolutions make a heat map per place; its mean, as a probability, is where the place
is (Nibali et al., "Numerical coordinate regression with convolutional neural networks", 2018). The
crop is a window of fixed size at the nearest point of a coarse grid, twice enlarged. No ranking and
no threshold, so the number of crops is fixed, and the grid keeps rounding from moving them. Outputs
are the crops (4, 3, 224, 224) and the corners (4, 2) of the windows as x, y in pixels.
"""

import torch
from torch import nn

PLACES = 4
SIDE = 320
WINDOW = 112
STEP = 16
ZOOM = 2
WIDTHS = (16, 32, 64, 64, 64)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in WIDTHS:
            layers += [
                nn.Conv2d(inputs, width, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            inputs = width
        self.body = nn.Sequential(*layers, nn.Conv2d(inputs, PLACES, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heat = self.body(image)
        cells = heat.shape[-1]
        chance = heat.flatten(2).softmax(2).unflatten(2, (cells, cells))
        # Where the middle of each cell is on the grid of corners.
        last = (SIDE - WINDOW) // STEP
        at = (torch.arange(cells, device=image.device) + 0.5) * (last / cells)
        corner = torch.stack(((chance.sum(2) * at).sum(2), (chance.sum(3) * at).sum(2)), dim=2)
        corner = corner.round().clamp(0, last) * STEP
        offsets = torch.arange(WINDOW, device=image.device)
        columns, rows = (
            corner[:, :, axis, None].to(torch.int64) + offsets for axis in range(2)
        )  # (n, places, window) each
        wide = image[:, None].expand(-1, PLACES, -1, -1, -1)
        rows = rows[:, :, None, :, None].expand(-1, -1, 3, -1, SIDE)
        columns = columns[:, :, None, None, :].expand(-1, -1, 3, WINDOW, -1)
        cut = wide.gather(3, rows).gather(4, columns)
        crops = nn.functional.interpolate(
            cut.flatten(0, 1), scale_factor=ZOOM, mode="bilinear", align_corners=False
        )
        return crops.unflatten(0, (-1, PLACES)), corner


def detector() -> nn.Module:
    return Detector()
