import warnings

__version__ = "0.1.0"

# torchvision and timm still script functions when they are imported; nothing that a user can act on
warnings.filterwarnings('ignore', message='.*torch.jit', category=FutureWarning)
