"""Networks of convolutions: classifiers, U-net, autoencoders, a GAN step."""

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, gradients, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.relu(images + self.body(images))


@program
def cnn_adam() -> Tensors:
    """Groups, stride and dilation, batch norm in training, max and average pooling."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=4),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, (3, 1), padding=(1, 0)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4, 10),
    )
    fill(model, seed=100)
    images, labels = lattice(8, 3, 16, 16, seed=101), integers(8, seed=102, below=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return {"losses": torch.stack(losses), "evaluated": model(images).detach(), **weights(model)}


@program
def resnet_inference() -> Tensors:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2),
        _Residual(16),
        nn.Conv2d(16, 24, 1, stride=2),
        _Residual(24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    fill(model, seed=110).eval()
    with torch.no_grad():
        logits = model(lattice(4, 3, 20, 20, seed=111))
    return {"logits": logits, "odds": logits.softmax(1), "classes": logits.argmax(1)}


@program
def depthwise_separable() -> Tensors:
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Hardswish(),
        nn.AdaptiveMaxPool2d(3),
    )
    fill(model, seed=120)
    images = lattice(4, 8, 12, 12, seed=121).requires_grad_()
    loss = model(images).square().sum()
    loss.backward()
    return {"loss": loss.detach(), "images.grad": images.grad, **gradients(model)}


@program
def unet() -> Tensors:
    """Down, up by a transposed convolution and by interpolation, skips concatenated."""
    down = fill(nn.Conv2d(1, 8, 3, padding=1), seed=130)
    deeper = fill(nn.Conv2d(8, 16, 3, stride=2, padding=1), seed=131)
    deepest = fill(nn.Conv2d(16, 16, 3, padding=1), seed=132)
    up = fill(nn.ConvTranspose2d(16, 8, 2, stride=2), seed=133)
    out = fill(nn.Conv2d(24, 1, 1), seed=134)
    parts = nn.ModuleList([down, deeper, deepest, up, out])
    images = lattice(3, 1, 16, 16, seed=135)
    masks = (lattice(3, 1, 16, 16, seed=136) > 0).float()
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        high = functional.relu(down(images))
        low = functional.relu(deepest(functional.relu(deeper(high))))
        nearest = functional.interpolate(low, scale_factor=2, mode="nearest")[:, :8]
        logits = out(torch.cat([up(low), nearest, high], dim=1))
        loss = functional.binary_cross_entropy_with_logits(logits, masks)
        loss.backward()
        optimizer.step()
    overlap = 2 * (logits.sigmoid() * masks).sum() / (logits.sigmoid() + masks).sum()
    return {"loss": loss.detach(), "dice": overlap.detach(), **weights(parts)}


@program
def transposed_convolutions() -> Tensors:
    """Stride, padding, output padding, dilation and groups of a transposed convolution."""
    model = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.Tanh(),
        nn.ConvTranspose2d(8, 4, 3, dilation=2),
    )
    fill(model, seed=140)
    images = lattice(2, 6, 5, 7, seed=141).requires_grad_()
    result = model(images)
    (result * lattice(*result.shape, seed=142)).sum().backward()
    return {"result": result.detach(), "images.grad": images.grad, **gradients(model)}


@program
def autoencoder() -> Tensors:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ELU(),
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
        nn.ELU(),
        nn.ConvTranspose2d(4, 8, 4, stride=2, padding=1),
        nn.ELU(),
        nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    fill(model, seed=150)
    images = lattice(6, 1, 16, 16, seed=151).abs()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(images), images)
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "again": model(images).detach(), **weights(model)}


@program
def variational_autoencoder() -> Tensors:
    """Reparameterised with `torch.randn_like` from a seeded generator."""
    torch.manual_seed(7)
    encoder = fill(nn.Linear(64, 2 * 8), seed=160)
    decoder = fill(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64)), seed=161)
    parts = nn.ModuleList([encoder, decoder])
    images = lattice(48, 64, seed=162).abs()
    optimizer = torch.optim.Adam(parts.parameters(), lr=2e-3)
    for _ in range(4):
        optimizer.zero_grad()
        centre, spread_log = encoder(images).chunk(2, dim=1)
        code = centre + torch.randn_like(centre) * (0.5 * spread_log).exp()
        seen = functional.binary_cross_entropy_with_logits(decoder(code), images, reduction="sum")
        divergence = -0.5 * (1 + spread_log - centre.pow(2) - spread_log.exp()).sum()
        (seen + divergence).backward()
        optimizer.step()
    return {"seen": seen.detach(), "divergence": divergence.detach(), **weights(parts)}


@program
def gan_step() -> Tensors:
    torch.manual_seed(11)
    generator = fill(nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 36)), seed=170)
    critic = fill(nn.Sequential(nn.Linear(36, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1)), seed=171)
    real = lattice(32, 36, seed=172)
    generator_steps = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    critic_steps = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    one, zero = torch.ones(32, 1), torch.zeros(32, 1)
    judge = functional.binary_cross_entropy_with_logits
    for _ in range(3):
        noise = torch.randn(32, 16)
        critic_steps.zero_grad()
        critic_loss = judge(critic(real), one) + judge(critic(generator(noise).detach()), zero)
        critic_loss.backward()
        critic_steps.step()
        generator_steps.zero_grad()
        generator_loss = judge(critic(generator(noise)), one)
        generator_loss.backward()
        generator_steps.step()
    return {
        "critic_loss": critic_loss.detach(),
        "generator_loss": generator_loss.detach(),
        **weights(nn.ModuleList([generator, critic])),
    }


@program
def dilated_audio() -> Tensors:
    """Causal one-dimensional convolutions with gates, as WaveNet has."""
    filters = nn.ModuleList(fill(nn.Conv1d(8, 8, 2, dilation=2**n), seed=180 + n) for n in range(4))
    gates = nn.ModuleList(fill(nn.Conv1d(8, 8, 2, dilation=2**n), seed=190 + n) for n in range(4))
    head = fill(nn.Conv1d(8, 5, 1), seed=200)
    sound, wanted = lattice(3, 8, 64, seed=201), integers(3, 64, seed=202, below=5)
    hidden = sound
    for number, (one, gate) in enumerate(zip(filters, gates, strict=True)):
        padded = functional.pad(hidden, (2**number, 0))
        hidden = hidden + torch.tanh(one(padded)) * torch.sigmoid(gate(padded))
    loss = functional.cross_entropy(head(hidden), wanted)
    loss.backward()
    return {
        "loss": loss.detach(),
        "hidden": hidden.detach(),
        **gradients(filters),
        **gradients(gates),
    }


@program
def pooling_1d() -> Tensors:
    sound = lattice(2, 6, 33, seed=210).requires_grad_()
    parts = [
        functional.max_pool1d(sound, 3, stride=2, padding=1),
        functional.avg_pool1d(sound, 4, stride=3, padding=2, count_include_pad=False),
        functional.adaptive_avg_pool1d(sound, 5),
    ]
    sum(part.square().sum() for part in parts).backward()
    return {**{f"part{n}": p.detach() for n, p in enumerate(parts)}, "grad": sound.grad}


@program
def image_augmentation() -> Tensors:
    """Shift, flip, reflect, normalise by channel, resize: what precedes a vision model."""
    images = lattice(4, 3, 12, 12, seed=220)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    spread = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    images = (images - mean) / spread
    images = functional.pad(images, (2, 2, 2, 2), mode="reflect").flip(3).roll(1, dims=2)
    return {
        "bilinear": functional.interpolate(
            images, size=(9, 21), mode="bilinear", align_corners=False
        ),
        "area": functional.interpolate(images, size=(8, 8), mode="area"),
        "patches": functional.unfold(images, 4, stride=4).transpose(1, 2),
    }
