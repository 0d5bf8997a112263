"""A small detector that cuts what it found out of the image: four places, four crops.

A spatial transformer (Jaderberg et al., NeurIPS 2015): five strided convolutions make a heat map
per place; the mean of each, as a probability, is where the place is (Nibali et al., "Numerical
coordinate regression with convolutional neural networks", 2018), and a bilinear grid of fixed size
around it is the crop. No ranking and no threshold, so the number of crops is fixed and rounding
moves them little. Outputs are the crops (4, 3, 224, 224) and their centres (4, 2) as x, y in -1..1
of the image.
"""

import torch
from torch import nn

PLACES = 4
CROP = 224
# Side of a crop over that of the image.
WINDOW = 0.35
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
        steps = (torch.arange(CROP) + 0.5) * 2.0 / CROP - 1.0
        self.register_buffer("steps", steps * WINDOW, persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heat = self.body(image)
        side = heat.shape[-1]
        cells = (torch.arange(side, dtype=image.dtype, device=image.device) + 0.5) * 2 / side - 1
        chance = heat.flatten(2).softmax(2).unflatten(2, (side, side))
        x = (chance.sum(2) * cells).sum(2)
        y = (chance.sum(3) * cells).sum(2)
        # (n, places, CROP) of either axis -> (n, places * CROP, CROP, 2): all crops in one grid.
        across = (x[..., None] + self.steps)[:, :, None, :].expand(-1, -1, CROP, -1)
        down = (y[..., None] + self.steps)[:, :, :, None].expand(-1, -1, -1, CROP)
        grid = torch.stack((across, down), dim=4).flatten(1, 2)
        cut = nn.functional.grid_sample(image, grid, align_corners=False, padding_mode="border")
        crops = cut.unflatten(2, (PLACES, CROP)).transpose(1, 2).contiguous()
        return crops, torch.stack((x, y), dim=2)


def detector() -> nn.Module:
    return Detector()
