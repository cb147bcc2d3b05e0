"""Mean and deviation of the colours of ImageNet, pixels in 0..1, red, green, blue: what most
backbones were trained on."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
