"""One step of LittleBit's quantization-aware training in PyTorch, to measure ours against (bench/train-speed.mjs).

Written from the formulas of the paper (arXiv 2506.13771): a linear is the sum over paths of
    y = h * (sgn(U) (l * (sgn(V) (g * x)))),    U [out, rank], V [rank, in],
with dense sign matrices made anew in every step, SmoothSign's gradient a (1 - tanh^2(a x)) with a = 100, and the loss
    KL(teacher || student), summed over tokens, a window  +  10 * sum over blocks of mean squared differences of hidden states.
AdamW at 4e-5, gradients clipped to a norm of 1. Latents and scales begin as Dual-SVID gives them.

    python torch_qat.py MODEL_FOLDER [--ranks FILE | --rank N] [--ids FILE] [--steps N] [--batch N] [--seqlen N] [--threads N]

MODEL_FOLDER is a Llama checkpoint in Hugging Face layout (no biases, plain rotary positions). Prints one JSON line a step and
one at the end: {"tokensPerSecond", "peakRssBytes", "klFirst", "klLast", ...}; needs torch and safetensors.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

SMOOTH = 100.0
HIDDEN_WEIGHT = 10.0


class SmoothSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * SMOOTH * (1 - torch.tanh(SMOOTH * x) ** 2)


class DenseLinear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x):
        return x @ self.weight.T


def largest_rank_one(matrix):
    """Two vectors without signs whose outer product is the best of a matrix without signs."""
    left, value, right = torch.svd_lowrank(matrix, q=1, niter=4)
    root = value[0].sqrt()
    return left[:, 0].abs() * root, right[:, 0].abs() * root


class SignPath(nn.Module):
    """One path, begun by Dual-SVID: signs and rank-one magnitudes of both factors of a truncated SVD."""

    def __init__(self, weight, rank):
        super().__init__()
        left, values, right = torch.svd_lowrank(weight, q=rank, niter=2)
        root = values.sqrt()
        u, v = left * root, (right * root).T
        h, l_u = largest_rank_one(u.abs())
        l_v, g = largest_rank_one(v.abs())
        self.u, self.v = nn.Parameter(u.contiguous()), nn.Parameter(v.contiguous())
        self.h, self.l, self.g = nn.Parameter(h), nn.Parameter(l_u * l_v), nn.Parameter(g)

    def forward(self, x):
        inner = (x * self.g) @ SmoothSign.apply(self.v).T
        return (inner * self.l) @ SmoothSign.apply(self.u).T * self.h

    @torch.no_grad()
    def dense(self):
        signs = SmoothSign.apply
        return self.h[:, None] * ((signs(self.u) * self.l) @ signs(self.v)) * self.g


class SignLinear(nn.Module):
    def __init__(self, weight, paths, rank):
        super().__init__()
        self.paths = nn.ModuleList()
        rest = weight
        for _ in range(paths):
            path = SignPath(rest, min(rank, *weight.shape))
            rest = rest - path.dense()
            self.paths.append(path)

    def forward(self, x):
        y = self.paths[0](x)
        for path in self.paths[1:]:
            y = y + path(x)
        return y


class Norm(nn.Module):
    def __init__(self, weight, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotated(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Block(nn.Module):
    def __init__(self, config, tensor, linear, layer):
        super().__init__()
        at = f"model.layers.{layer}."
        names = {
            **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
            **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
        }
        for short, name in names.items():
            setattr(self, short, linear(f"{at}{name}", tensor(f"{at}{name}.weight")))
        eps = config["rms_norm_eps"]
        self.before = Norm(tensor(f"{at}input_layernorm.weight"), eps)
        self.middle = Norm(tensor(f"{at}post_attention_layernorm.weight"), eps)
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads", self.heads)

    def forward(self, x, cos, sin):
        batch, tokens, _ = x.shape
        normed = self.before(x)

        def split(y, heads):
            return y.view(batch, tokens, heads, -1).transpose(1, 2)

        q = rotated(split(self.q(normed), self.heads), cos, sin)
        k = rotated(split(self.k(normed), self.kv_heads), cos, sin)
        v = split(self.v(normed), self.kv_heads)
        share = self.heads // self.kv_heads
        if share > 1:
            k, v = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        normed = self.middle(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Llama(nn.Module):
    def __init__(self, config, tensor, linear):
        super().__init__()
        self.embedding = nn.Parameter(tensor("model.embed_tokens.weight"), requires_grad=False)
        tied = config.get("tie_word_embeddings", False)
        self.head = self.embedding if tied else nn.Parameter(tensor("lm_head.weight"), requires_grad=False)
        layers = range(config["num_hidden_layers"])
        self.blocks = nn.ModuleList(Block(config, tensor, linear, layer) for layer in layers)
        self.norm = Norm(tensor("model.norm.weight"), config["rms_norm_eps"])
        self.theta = config.get("rope_theta", 10000.0)
        self.head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]

    def forward(self, ids):
        """Logits, and the outputs of all blocks, the last one behind the final norm."""
        places = torch.arange(ids.shape[1], dtype=torch.float32)
        rates = self.theta ** (-torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim)
        angles = torch.outer(places, rates).repeat(1, 2)
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding[ids]
        hidden = []
        for block in self.blocks:
            x = block(x, cos, sin)
            hidden.append(x)
        hidden[-1] = self.norm(x)
        return hidden[-1] @ self.head.T, hidden


def read_checkpoint(folder):
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        sys.exit(f"{folder} is no Llama without biases, which is all that this script knows.")
    if config.get("rope_scaling"):
        sys.exit(f"{folder} scales its rotary positions, which this script does not know.")
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(file))
    # Copies, so that training the student's norms leaves the teacher's alone.
    return config, lambda name: tensors[name].to(torch.float32, copy=True)


def read_ranks(options):
    """Paths and rank by the linear's name, or the same for all."""
    if options.ranks is None:
        return lambda name: (2, options.rank)
    ranks = json.loads(Path(options.ranks).read_text())
    return lambda name: tuple(ranks[name])


def read_ids(options, vocab):
    wanted = options.steps * options.batch * options.seqlen
    if options.ids is None:
        return torch.randint(0, vocab, (wanted,), generator=torch.Generator().manual_seed(options.seed))
    ids = torch.tensor(json.loads(Path(options.ids).read_text()), dtype=torch.long)
    return ids.repeat(-(-wanted // len(ids)))[:wanted]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--ranks", help='JSON file: {"model.layers.0.self_attn.q_proj": [paths, rank], ...}')
    parser.add_argument("--rank", type=int, default=64, help="of each of two paths, where there is no --ranks")
    parser.add_argument("--ids", help="JSON file: token ids to train on (default: random ones)")
    for name, value in (("steps", 5), ("batch", 4), ("seqlen", 256), ("threads", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    config, tensor = read_checkpoint(options.model)
    ranks = read_ranks(options)
    teacher = Llama(config, tensor, lambda name, weight: DenseLinear(weight)).requires_grad_(False)
    student = Llama(config, tensor, lambda name, weight: SignLinear(weight, *ranks(name)))
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=4e-5, betas=(0.9, 0.999), weight_decay=0.0)
    ids = read_ids(options, config["vocab_size"]).view(options.steps, options.batch, options.seqlen)
    losses, seconds = [], []
    for step, batch in enumerate(ids, start=1):
        started = time.perf_counter()
        with torch.no_grad():
            teacher_logits, teacher_hidden = teacher(batch)
        logits, hidden = student(batch)
        kl = F.kl_div(
            F.log_softmax(logits, dim=-1), F.log_softmax(teacher_logits, dim=-1), reduction="sum", log_target=True
        )
        apart = sum(F.mse_loss(ours, theirs) for ours, theirs in zip(hidden, teacher_hidden))
        loss = kl / options.batch + HIDDEN_WEIGHT * apart
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(kl.item() / batch.numel())
        seconds.append(time.perf_counter() - started)
        print(json.dumps({"step": step, "loss": loss.item(), "kl": losses[-1], "seconds": seconds[-1]}), flush=True)
    # The first step allocates what the others use again.
    usual = statistics.median(seconds[1:] or seconds)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    result = {
        "tokensPerSecond": options.batch * options.seqlen / usual,
        "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "klFirst": losses[0],
        "klLast": losses[-1],
        "trainedParameters": sum(parameter.numel() for parameter in trained),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
