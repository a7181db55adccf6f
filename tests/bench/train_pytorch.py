#!/usr/bin/python3
"""The model of bench_train.c in eager PyTorch: tokens a second, highest resident memory.

    train_pytorch.py [V] [steps] [torch threads]

Written the way that is fastest in eager PyTorch on a CPU: fused QKV, learned positions (cheaper
than rotating), tanh GELU, addmm through nn.Linear, AdamW's foreach form, gradients set to None.
Threads of OpenBLAS come from OPENBLAS_NUM_THREADS.
"""
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

V = int(sys.argv[1]) if len(sys.argv) > 1 else 512
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 8
THREADS = int(sys.argv[3]) if len(sys.argv) > 3 else 1
L, C, H, T, B = 6, 384, 6, 256, 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.dense = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.gelu = nn.GELU(approximate="tanh")

    def forward(self, x, mask):
        q, k, v = self.qkv(self.ln1(x)).split(C, dim=2)
        q, k, v = (z.view(B, T, H, C // H).transpose(1, 2) for z in (q, k, v))
        scores = (q * (C // H) ** -0.5) @ k.transpose(-2, -1) + mask
        mixed = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(B, T, C)
        x = x + self.dense(mixed)
        return x + self.down(self.gelu(self.up(self.ln2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.ln = nn.LayerNorm(C)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        mask = torch.full((T, T), float("-inf")).triu(1)
        self.register_buffer("mask", mask)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.places.weight
        for block in self.blocks:
            x = block(x, self.mask)
        logits = self.ln(x) @ self.tokens.weight.t()
        return F.cross_entropy(logits.view(-1, V), targets.view(-1))


def main():
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    model = Model()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                             foreach=True)
    rates = []
    for step in range(-2, STEPS):
        tokens, targets = torch.randint(0, V, (B, T)), torch.randint(0, V, (B, T))
        start = time.perf_counter()
        loss = model(tokens, targets)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        if step >= 0:
            rates.append(B * T / (time.perf_counter() - start))
    print(f"loss {loss.item():.4f}")
    print(f"tokens_per_s {statistics.median(rates):.1f}")
    print(f"peak_mb {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:.1f}")


main()
