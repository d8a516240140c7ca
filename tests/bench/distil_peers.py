"""What one would pick instead: training loops of other libraries, for distil_step.py."""

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from distil_setup import CLIP, RATE, RELATION_HEADS, TEMPERATURE, Loop, Setup
from relation_loss import plain_relation_loss
from torch import Tensor, nn

from trainables.models.encoder import layers, parts

KINDS = ("query", "key", "value")


def textbrewer_hs(setup: Setup) -> Loop:
    """The library's own loop; it stores the student once at its end."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    student, teacher, last = setup.model("hs"), setup.teacher.model.base_model, setup.teacher.facts.architecture
    for model in (student, teacher):
        model.forward = setup.autocast()(model.forward)
    match = {
        "layer_T": last.num_layers, "layer_S": setup.student.num_layers, "feature": "hidden", "loss": "hidden_mse",
        "weight": 1, "proj": ["linear", setup.student.hidden_size, last.hidden_size],
    }  # fmt: skip
    folder = tempfile.TemporaryDirectory()
    batches = [{"input_ids": setup.ids_BT(step)} for step in range(setup.steps)]

    def loop() -> None:
        distiller = GeneralDistiller(
            TrainingConfig(device=setup.device, output_dir=folder.name, ckpt_steps=10**9),
            DistillationConfig(intermediate_matches=[match]),
            teacher, student,
            *(2 * [lambda batch, outputs: {"hidden": outputs.hidden_states}]),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(student.parameters(), lr=RATE)
        distiller.train(
            optimizer, batches, num_steps=setup.steps, max_grad_norm=CLIP, output_hidden_states=True
        )  # fmt: skip

    return loop


class Mapped(nn.Module):
    """A student under a learned map, for libraries that match modules by name."""

    def __init__(self, encoder: Any, narrow: int, wide: int):
        super().__init__()
        self.encoder, self.map = encoder, nn.Linear(narrow, wide, bias=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """The mapped last hidden state."""
        return self.map(self.encoder(ids_BT).last_hidden_state)


def torchdistill_hs(setup: Setup) -> Loop:
    """The steps of the library's example scripts: forward_process, post_forward_process."""
    from torchdistill.core.distillation import DistillationBox

    last, forward = setup.teacher.facts.architecture, {"forward_proc": "forward_batch_only"}
    path = f"encoder.layer.{last.num_layers - 1}.output"
    wrapper = {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": "map", "io": "output"},
            "target": {"is_from_teacher": True, "module_path": path, "io": "output"},
        },
    }
    term = {"criterion": {"key": "MSELoss", "kwargs": {}}, "criterion_wrapper": wrapper, "weight": 1.0}
    box = DistillationBox(
        setup.teacher.model.base_model, Mapped(setup.model("hs"), setup.student.hidden_size, last.hidden_size), {},
        {
            "num_epochs": 1,
            "teacher": {**forward, "forward_hook": {"output": [path]}, "requires_grad": False},
            "student": {**forward, "forward_hook": {"output": ["map"]}},
            "optimizer": {"key": "AdamW", "kwargs": {"lr": RATE}, "max_grad_norm": CLIP},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"hs": term}}},
        },
        torch.device(setup.device), None, False, 1.0,
    )  # fmt: skip

    def loop() -> None:
        box.pre_epoch_process(epoch=0)
        for step in range(setup.steps):
            with setup.autocast():
                loss = box.forward_process(setup.ids_BT(step), None, None)
            box.post_forward_process(loss=loss)

    return loop


def plain_mha(setup: Setup) -> Loop:
    """Hooks on queries, keys and values of whole models, and the plain formula."""
    student, teacher = setup.model("mha"), setup.teacher.model.base_model
    optimizer, seen = torch.optim.AdamW(student.parameters(), lr=RATE), {}
    for side, model in (("student", student), ("teacher", teacher)):
        for name, read in zip(KINDS, parts(model, len(layers(model))).to_heads, strict=True):
            read.register_forward_hook(partial(lambda key, module, args, out: seen.update({key: out}), (side, name)))

    def loop() -> None:
        for step in range(setup.steps):
            ids_BT = setup.ids_BT(step)
            with setup.autocast():
                with torch.no_grad():
                    teacher(ids_BT)
                student(ids_BT)
                both = ([seen[side, name] for name in KINDS] for side in ("student", "teacher"))
                loss = plain_relation_loss(*both, RELATION_HEADS)
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

    return loop


def arguments_of(setup: Setup, kind: Any, folder: str) -> Any:
    """Of a Trainer that does nothing but train."""
    return kind(
        folder, max_steps=setup.steps, per_device_train_batch_size=setup.batch, learning_rate=RATE,
        use_cpu=setup.device == "cpu", max_grad_norm=CLIP, report_to=[], save_strategy="no", disable_tqdm=True,
        logging_strategy="no", bf16=setup.bf16,
    )  # fmt: skip


def trainer_od(setup: Setup) -> Loop:
    """A Trainer whose loss selects the masked positions from the logits of both models."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    teacher = setup.teacher.model

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: object, **options: object) -> Tensor:
            with torch.no_grad(), setup.autocast():
                theirs = teacher(input_ids=inputs["input_ids"]).logits
            chosen = inputs["labels"] != -100
            ours = model(input_ids=inputs["input_ids"]).logits[chosen] / TEMPERATURE
            target = F.softmax(theirs[chosen] / TEMPERATURE, -1)
            return TEMPERATURE**2 * F.kl_div(F.log_softmax(ours, -1), target, reduction="batchmean")

    folder = tempfile.TemporaryDirectory()
    rows = [
        {"input_ids": ids, "labels": labels}
        for step in range(setup.steps)
        for ids, labels in zip(*setup.masked(step), strict=True)
    ]
    student = setup.model("od")

    def loop() -> None:
        trainer = Distiller(student, arguments_of(setup, TrainingArguments, folder.name), train_dataset=rows)
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return loop


def sentence_transformers_embed(setup: Setup, live: bool) -> Loop:
    """MSELoss under SentenceTransformerTrainer, with a learned map to the teacher's width.

    The library takes embeddings of the teacher that are there before training; live, the loss makes them. Words are
    numbers already, so that no tokenizer takes time.
    """
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.data_collator import BaseDataCollator
    from sentence_transformers.sentence_transformer.losses import MSELoss
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import PrinterCallback

    class Encoder(nn.Module):
        def __init__(self, model: Any):
            super().__init__()
            self.model = model

        def preprocess(self, texts: list[str], **options: object) -> dict[str, Tensor]:
            ids_BT = ids_NT[[int(text) for text in texts]]
            return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}

        def forward(self, features: dict[str, Tensor], **options: object) -> dict[str, Tensor]:
            return features | {"token_embeddings": self.model(features["input_ids"]).last_hidden_state}

    ids_NT = torch.cat([setup.ids_BT(step) for step in range(setup.steps)])
    teacher = setup.teacher.model.base_model

    @torch.no_grad()
    def told(ids_BT: Tensor) -> Tensor:
        with setup.autocast():
            return teacher(ids_BT).last_hidden_state.mean(1)

    class Live(MSELoss):
        def forward(self, texts: list[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
            return super().forward(texts, told(texts[0]["input_ids"]))

    labels_NE = torch.zeros(len(ids_NT), 1) if live else torch.cat([told(some) for some in ids_NT.split(setup.batch)])
    columns = {"text": [str(row) for row in range(len(ids_NT))], "label": labels_NE.cpu().numpy()}
    rows = Dataset.from_dict(columns).with_format("torch", columns=["label"], output_all_columns=True)
    folder = tempfile.TemporaryDirectory()
    modules = [Encoder(setup.model("embed")), Pooling(setup.student.hidden_size, "mean")]
    student = SentenceTransformer(modules=modules, device=setup.device)
    loss = (Live if live else MSELoss)(student, projection_dim=setup.teacher.facts.architecture.hidden_size)

    def loop() -> None:
        trainer = SentenceTransformerTrainer(
            student, arguments_of(setup, SentenceTransformerTrainingArguments, folder.name), train_dataset=rows,
            loss=loss, data_collator=BaseDataCollator(student.preprocess),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return loop


PEERS: dict[str, dict[str, Callable[[Setup], Loop]]] = {
    "hs": {"textbrewer": textbrewer_hs, "torchdistill": torchdistill_hs},
    "mha": {"plain loop": plain_mha},
    "od": {"transformers Trainer": trainer_od},
    "embed": {
        "sentence-transformers, embeddings kept": partial(sentence_transformers_embed, live=False),
        "sentence-transformers, live": partial(sentence_transformers_embed, live=True),
    },
}
