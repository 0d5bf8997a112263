"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998).

The classic network reads 32x32 images; the first layer pads 28x28 digits to that size. 61,706
parameters. ReLU and max pooling stand in for the original's tanh and trainable subsampling.
"""

import torch
from torch import nn


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int = 15) -> None:
    """Fits `model` to images (n, 1, 28, 28) and labels (n,), each batch shifted a little."""
    steps_per_epoch = -(-len(images) // 64)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, epochs=epochs, steps_per_epoch=steps_per_epoch
    )
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            down, right = (int(shift) for shift in torch.randint(-2, 3, (2,)))
            shifted = images[chosen].roll((down, right), (2, 3))
            loss = nn.functional.cross_entropy(model(shifted), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
