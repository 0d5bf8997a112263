"""VGG-16 (Simonyan and Zisserman, "Very deep convolutional networks", 2014), configuration D."""

from torch import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, convolutions in STAGES:
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for features, outputs in ((512 * 7 * 7, 4096), (4096, 4096)):
        layers += [nn.Linear(features, outputs), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))
