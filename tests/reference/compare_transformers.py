"""The same mathematics as PyTorch and transformers, both ways.

compare_transformers.py PROBE [CASE ...]     compare; ends with the figures, exits 1 on a difference
compare_transformers.py --golden FOLDER      write the small models that the unit tests read

For every case a randomly initialised model is saved by transformers and read by our program, which
computes logits, loss, every gradient, a few AdamW steps and a greedy continuation; then
transformers opens the checkpoint that our program wrote. PROBE is tests/reference/model_probe.c,
built.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "info"
import numpy
import torch
import transformers
from transformers import (AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig,
                          GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM)

LOGITS_MOST = 1e-4  # absolute
GRADIENT_MOST = 1e-3  # of the gradient's norm, each tensor
UPDATE_MOST = 1e-3  # of the update's norm, each tensor
STEPS = 5

SMALL = dict(vocab_size=301, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
             intermediate_size=152, max_position_embeddings=64, initializer_range=0.15)
GOLDEN = dict(vocab_size=37, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
              intermediate_size=40, max_position_embeddings=32, initializer_range=0.3)


def neox(fraction, parallel, tied=False, act="gelu", **sizes):
    config = GPTNeoXConfig(
        rotary_pct=fraction, use_parallel_residual=parallel, tie_word_embeddings=tied,
        hidden_act=act, hidden_dropout=0.0, attention_dropout=0.0, **{**SMALL, **sizes})
    # The keys have changed over the years: a fraction that was not understood would test nothing.
    new = getattr(config, "rope_parameters", None) or {}
    assert fraction == new.get("partial_rotary_factor", getattr(config, "rotary_pct", None))
    return GPTNeoXForCausalLM, config


def llama(kv_heads, tied=False, **sizes):
    return LlamaForCausalLM, LlamaConfig(
        num_key_value_heads=kv_heads, tie_word_embeddings=tied, **{**SMALL, **sizes})


# name: (class and config, dtype saved, largest shard, B, T)
F32, WHOLE = torch.float32, "5GB"
CASES = {
    "neox-parallel-0.25": (lambda: neox(0.25, True), F32, WHOLE, 3, 48),
    "neox-parallel-1.0": (lambda: neox(1.0, True, act="gelu_fast"), F32, WHOLE, 3, 48),
    "neox-sequential-0.25": (lambda: neox(0.25, False, act="gelu_new"), F32, WHOLE, 3, 48),
    "neox-sequential-1.0": (lambda: neox(1.0, False), F32, WHOLE, 3, 48),
    "neox-parallel-tied": (lambda: neox(0.25, True, tied=True), F32, WHOLE, 3, 48),
    "neox-sequential-tied": (lambda: neox(1.0, False, tied=True), F32, WHOLE, 3, 48),
    "neox-base-500": (lambda: neox(0.5, True, rotary_emb_base=500), F32, WHOLE, 3, 48),
    "neox-sharded": (lambda: neox(0.25, True), F32, "60KB", 3, 48),
    "neox-f16": (lambda: neox(0.25, True), torch.float16, WHOLE, 3, 48),
    "llama": (lambda: llama(4), F32, WHOLE, 3, 48),
    "llama-grouped": (lambda: llama(2, rope_theta=50000.0), F32, WHOLE, 3, 48),
    "llama-one-kv-head": (lambda: llama(1), F32, WHOLE, 3, 48),
    "llama-grouped-tied": (lambda: llama(2, tied=True), F32, WHOLE, 3, 48),
    "llama-bf16": (lambda: llama(2), torch.bfloat16, "50KB", 3, 48),
    "pythia-70m-shape": (lambda: neox(0.25, True, vocab_size=50304, hidden_size=512,
                                      num_hidden_layers=6, num_attention_heads=8,
                                      intermediate_size=2048, max_position_embeddings=2048,
                                      initializer_range=0.02), F32, WHOLE, 1, 96),
}
GOLDEN_CASES = {
    "neox-parallel": (lambda: neox(0.25, True, **GOLDEN), F32),
    "neox-sequential": (lambda: neox(1.0, False, act="gelu_new", **GOLDEN), F32),
    "neox-tied-f16": (lambda: neox(0.5, True, tied=True, **GOLDEN), torch.float16),
    "llama": (lambda: llama(2, **GOLDEN), F32),
    "llama-grouped-bf16": (lambda: llama(1, **GOLDEN), torch.bfloat16),
}


def random_model(make, seed, dtype):
    """A model whose biases and norms are random too: transformers starts them at 0 and 1."""
    torch.manual_seed(seed)
    cls, config = make()
    model = cls(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            p.copy_(p.to(dtype))  # what the file will hold
    return model


def save(model, folder, dtype, shard):
    """transformers writes config.json and the tensors in `dtype`; the model itself stays f32."""
    state = {k: v.to(dtype) for k, v in model.state_dict().items()}
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=shard, state_dict=state)


def random_tokens(model, seed, B, T):
    return torch.randint(0, model.config.vocab_size, (B, T + 1),
                         generator=torch.Generator().manual_seed(seed))


def named_parameters(model):
    """Under their names in files: transformers 5 calls GPT-NeoX's output layer otherwise inside."""
    neox = model.config.model_type == "gpt_neox"
    return {"embed_out.weight" if neox and n == "lm_head.weight" else n: p
            for n, p in model.named_parameters()}


def forward_backward(model, ids):
    """logits (B, T, V), loss (mean over rows), {name: gradient}"""
    model.zero_grad()
    logits = model(ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    return logits.detach(), loss.item(), {n: p.grad.clone() for n, p in named_parameters(model).items()}


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-30)).item()


def read_named(folder, file, like):
    """{name: tensor} of a flat f32 file in names.txt's order; and which names decay."""
    values = torch.from_numpy(numpy.fromfile(f"{folder}/{file}", dtype="<f4"))
    out, decays, at = {}, set(), 0
    for line in open(f"{folder}/names.txt"):
        name, count, decay = line.split()
        out[name] = values[at:at + int(count)].reshape(like[name].shape)
        at += int(count)
        if decay == "1":
            decays.add(name)
    assert at == len(values) and set(out) == set(like), set(out) ^ set(like)
    return out, decays


def torch_steps(model, gradients, decays):
    """AdamW as torch does it, on the gradients given, clipped: norms before, parameters after."""
    named = named_parameters(model)
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in named.items() if (n in decays) == decay],
          "weight_decay": 0.1 if decay else 0.0} for decay in (True, False)],
        lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    norms = []
    for _ in range(STEPS):
        for name, p in named.items():
            p.grad = gradients[name].clone()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
    return norms, {n: p.detach() for n, p in named.items()}


WARNINGS = re.compile(r"not used when initializing|newly initialized|UNEXPECTED|MISSING|mismatch"
                      r"|unrecognized|not valid|deprecat", re.I)


class Listener:
    """What transformers logs while it opens a checkpoint."""

    def __enter__(self):
        import io
        import logging
        self.text = io.StringIO()
        self.handler = logging.StreamHandler(self.text)
        logging.getLogger("transformers").addHandler(self.handler)
        return self

    def __exit__(self, *_):
        import logging
        logging.getLogger("transformers").removeHandler(self.handler)

    def complaints(self):
        return [line for line in self.text.getvalue().splitlines()
                if WARNINGS.search(line) and "All model checkpoint weights" not in line]


def open_ours(folder):
    """Our checkpoint through from_pretrained: the model and what it complained about."""
    with Listener() as listener:
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    complaints = listener.complaints()
    complaints += [f"{k}: {v}" for k, v in info.items() if v]
    return model.eval().to(torch.float32), complaints


BYTES_TEXT = "Hello, w\u00f6rld!  \n\t\U0001f600 <|endoftext|>\x00\x7f\u2028 'll  x"


def check_tokenizer(folder):
    """The byte tokenizer beside our checkpoint must be one that AutoTokenizer opens."""
    with Listener() as listener:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    bad = [f"AutoTokenizer: {c}" for c in listener.complaints()]
    head, tail = (part.encode() for part in BYTES_TEXT.split("<|endoftext|>"))
    ids = tokenizer(BYTES_TEXT)["input_ids"]
    if ids != [*head, 256, *tail]:
        bad.append(f"AutoTokenizer: other ids: {ids}")
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != BYTES_TEXT:
        bad.append("AutoTokenizer: decodes to another text")
    if (tokenizer.eos_token_id, tokenizer.bos_token_id) != (256, 256):
        bad.append(f"AutoTokenizer: <|endoftext|> is {tokenizer.eos_token_id}")
    return bad


def compare(probe, name, case, seed):
    make, dtype, shard, B, T = case
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = f"{folder}/model", f"{folder}/ours"
        os.mkdir(ours)
        model = random_model(make, seed, dtype)
        save(model, theirs, dtype, shard)
        ids = random_tokens(model, seed, B, T)
        ids.numpy().astype("<i4").tofile(f"{folder}/ids")
        subprocess.run([probe, theirs, f"{folder}/ids", str(B), str(T), str(STEPS), ours],
                       check=True)
        logits, loss, gradients = forward_backward(model, ids)
        got = torch.from_numpy(numpy.fromfile(f"{ours}/logits.f32", dtype="<f4")).reshape(
            logits.shape)
        logits_error = (got - logits).abs().max().item()
        loss_error = abs(numpy.fromfile(f"{ours}/loss.f64")[0] / loss - 1)
        mine, decays = read_named(ours, "gradients.f32", gradients)
        gradient_errors = {n: relative(mine[n], g) for n, g in gradients.items()}
        worst = max(gradient_errors, key=gradient_errors.get)

        back, complaints = open_ours(f"{ours}/checkpoint")
        bad += [f"from_pretrained: {c}" for c in complaints]
        bad += check_tokenizer(f"{ours}/checkpoint")
        with torch.no_grad():
            difference = (back(ids[:, :-1]).logits - model(ids[:, :-1]).logits).abs().max().item()
            # gelu_fast comes back as gelu_new: the same function, added up in another order.
            if difference > (1e-5 if model.config.hidden_act == "gelu_fast" else 0):
                bad.append(f"from_pretrained: logits differ by {difference:.2g}")
        prompt = ids[:1, :T // 2]
        text = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_length=T,
                              do_sample=False, eos_token_id=None, pad_token_id=0)[0]
        if numpy.fromfile(f"{ours}/greedy.i32", dtype="<i4").tolist() != text.tolist():
            bad.append("another greedy continuation")

        before = {n: p.detach().clone() for n, p in named_parameters(model).items()}
        norms, after = torch_steps(model, mine, decays)
        updated, _ = read_named(ours, "updated.f32", gradients)
        update_error = max(relative(updated[n] - before[n], after[n] - before[n]) for n in before)
        norm_error = max(abs(numpy.fromfile(f"{ours}/norms.f64") / numpy.array(norms) - 1))

    if logits_error > LOGITS_MOST:
        bad.append(f"logits differ by {logits_error:.2g}")
    if loss_error > GRADIENT_MOST or norm_error > GRADIENT_MOST:
        bad.append(f"loss differs by {loss_error:.2g}, gradient norm by {norm_error:.2g}")
    if gradient_errors[worst] > GRADIENT_MOST:
        bad.append(f"the gradient of {worst} differs by {gradient_errors[worst]:.2g}")
    if update_error > UPDATE_MOST:
        bad.append(f"AdamW's updates differ by {update_error:.2g}")
    print(f"{name:22} logits {logits_error:.1e}  loss {loss_error:.1e}  "
          f"gradients {gradient_errors[worst]:.1e}  AdamW {update_error:.1e}  "
          f"{'ok' if not bad else 'DIFFERS'}", flush=True)
    for line in bad:
        print(f"    {line}")
    return logits_error, gradient_errors[worst], not bad


def write_golden(folder):
    """Small models and what transformers computes for them, in files our own reader opens."""
    from safetensors.torch import save_file
    for seed, (name, (make, dtype)) in enumerate(GOLDEN_CASES.items(), 100):
        model = random_model(make, seed, dtype)
        path = f"{folder}/{name}"
        save(model, path, dtype, WHOLE)
        for extra in os.listdir(path):
            if extra not in ("config.json", "model.safetensors"):
                os.remove(f"{path}/{extra}")
        ids = random_tokens(model, seed, 2, 24)
        logits, loss, gradients = forward_backward(model, ids)
        text = model.generate(ids[:1, :12], attention_mask=torch.ones(1, 12), max_length=24,
                              do_sample=False, eos_token_id=None, pad_token_id=0)
        save_file({"ids": ids.float(), "logits": logits, "loss": torch.tensor([loss]),
                   "greedy": text.float(), **{f"grad.{n}": g for n, g in gradients.items()}},
                  f"{path}/expected.safetensors")
        print(f"{path}: {sum(p.numel() for p in model.parameters())} parameters, loss {loss:.4f}")


def main():
    torch.set_num_threads(2)
    transformers.logging.disable_progress_bar()
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    import logging
    logging.getLogger().addHandler(logging.NullHandler())
    if sys.argv[1] == "--golden":
        return write_golden(sys.argv[2])
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    names = sys.argv[2:] or list(CASES)
    results = [compare(sys.argv[1], n, CASES[n], seed) for seed, n in enumerate(names, 1)]
    print(f"figure logits_max_error {max(r[0] for r in results):.3g} abs")
    print(f"figure grad_max_relative_error {max(r[1] for r in results):.3g} ratio")
    sys.exit(0 if all(r[2] for r in results) else 1)


if __name__ == "__main__":
    main()
