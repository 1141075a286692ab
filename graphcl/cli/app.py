"""Commands of ``graphcl``: datasets, methods, train, evaluate, plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from graphcl.train.recipes import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Contrastive learning on graphs: exact losses, linear memory, honest evaluation.",
)
console = Console()

Root = Annotated[
    Path | None,
    typer.Option(
        help="Folder of raw data.",
        envvar="GRAPHCL_DATA",
        show_default="~/.cache/graphcl-kge",
    ),
]
Probe = Literal["logistic", "adam"]
MatmulPrecision = Annotated[
    Literal["highest", "high", "medium"],
    typer.Option(
        help="Of float32 products, as PyTorch names it; medium multiplies bfloat16 factors where "
        "the processor has units for them.",
    ),
]

_LOADERS = {
    "batch_size": ("neighbor", "cluster"),
    "fan_out": ("neighbor",),
    "partition": ("cluster",),
}
"""Options of train, and the loaders that read them."""
_TASKS = {"protocol": ("classify",), "probe": ("classify",), "oracle": ("cluster",)}
"""Options of evaluate, and the tasks that read them."""


def run() -> None:
    """Run the command line; mistakes of the user end in one line, not in a traceback."""
    try:
        app()
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        _tell_end(str(error))
        raise SystemExit(2) from None


def _tell_end(why: str) -> None:
    message = f"[red]graphcl:[/red] {escape(why)}"
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)


@app.command()
def datasets() -> None:
    """List the datasets.

    Example: graphcl datasets
    """
    from graphcl.data import dataset_info, dataset_names

    table = Table(
        Column("name", no_wrap=True),
        *("nodes", "edges", "features", "classes"),
        Column("protocols", min_width=16),
        Column("files", no_wrap=True),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in dataset_names():
        info = dataset_info(name)
        table.add_row(
            name,
            str(info.nodes),
            str(info.edges),
            str(info.features or "-"),
            str(info.classes or "-"),
            " ".join(info.protocols) or "-",
            "fetched" if info.downloads else "own" if info.needs_files else "-",
        )
    console.print(table)
    console.print(
        "files: [bold]fetched[/bold] where they are absent; your [bold]own[/bold], put into "
        "--root (the error names the files and where they come from)"
    )


@app.command()
def methods(
    method: Annotated[str | None, typer.Argument(help="Show the settings of one method.")] = None,
) -> None:
    """List the methods, or the settings of one method per dataset.

    Example: graphcl methods grace
    """
    from graphcl.train.recipes import method_class, method_names, recipe, settings_for

    if method is None:
        table = Table("method", "paper", "datasets with own settings")
        for name in method_names():
            recipes = [dataset for dataset in recipe(name) if dataset != "default"]
            table.add_row(name, method_class(name).paper, " ".join(recipes) or "-")
        console.print(table)
        return
    default = _flat(settings_for(method, "default"))
    table = Table("setting", "default", title=f"{method} on a dataset without a recipe")
    for key, value in default.items():
        table.add_row(key, str(value))
    console.print(table)
    table = Table(Column("dataset", no_wrap=True), "differs from the default by")
    for section in recipe(method):
        own = _flat(settings_for(method, section))
        changes = [f"{k}={v}" for k, v in own.items() if default.get(k) != v]
        if changes:
            table.add_row(section, ", ".join(changes))
    if table.row_count:
        console.print(table)


def _flat(settings: Settings) -> dict[str, object]:
    return {**settings.model, **asdict(settings.training)}


@app.command(context_settings={"allow_extra_args": True})
def train(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Name, see: graphcl datasets.")],
    method: Annotated[str, typer.Option(help="Name, see: graphcl methods.")],
    out: Annotated[Path, typer.Option(help="Run directory; the same command continues it.")],
    root: Root = None,
    pot: Annotated[
        Literal["none", "pairwise", "certified", "official"],
        typer.Option(
            help="Provable training on top of a GRACE-like method; its settings are kappa, "
            "pot_warmup, pot_batch, ..."
        ),
    ] = "none",
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs, seeds 0, 1, ...")] = 1,
    protocol: Annotated[
        str | None, typer.Option(help="Evaluation protocol; default the dataset's first.")
    ] = None,
    probe: Annotated[Probe, typer.Option(help="Classifier of the linear probe.")] = "logistic",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = "32-true",
    matmul_precision: MatmulPrecision = "highest",
    hold_out_links: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.6,
            help="Share of edges kept from training to test link prediction; default 0.1 for "
            "graphs that are there for it, else 0. OGB's are official.",
        ),
    ] = None,
    selection: Annotated[
        Literal["last", "silhouette", "modularity"],
        typer.Option(help="Clustering: whose weights count."),
    ] = "last",
    oracle: Annotated[
        bool,
        typer.Option(help="Clustering: also report the best epochs against the labels, by name."),
    ] = False,
    approximation: Annotated[
        bool, typer.Option(help="Clustering: note the error of PamC's proxy at every epoch.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value on top of the recipe; several may follow."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard logs.")] = False,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
    loader: Annotated[
        Literal["full", "neighbor", "cluster"],
        typer.Option(help="The whole graph, or batches of it."),
    ] = "full",
    batch_size: Annotated[int, typer.Option(help="Most seeds of a batch, per device.")] = 1024,
    fan_out: Annotated[
        str, typer.Option(help="For neighbor: neighbours sampled per hop; -1 takes all.")
    ] = "10,10",
    queue: Annotated[int, typer.Option(help="Keys of earlier batches as further negatives.")] = 0,
    key_momentum: Annotated[
        float, typer.Option(help="With a queue: of the slow copy of the encoder that makes keys.")
    ] = 0.99,
    partition: Annotated[
        Literal["auto", "metis", "louvain", "bandwidth"], typer.Option(help="For cluster.")
    ] = "auto",
    hard_every: Annotated[
        int,
        typer.Option(
            help="For neighbor: cluster nodes every so many epochs; alike ones share batches."
        ),
    ] = 0,
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
) -> None:
    """Train and evaluate a method; the run directory can be continued after an interruption.

    Example: graphcl train --dataset digits --method grace --seeds 3 --out runs/digits
    """
    import torch

    from graphcl.cli.report import show_metrics
    from graphcl.minibatch.options import Batching, parse_fan_out
    from graphcl.train import run_experiment
    from graphcl.train.processes import is_first
    from graphcl.train.recipes import parse_overrides

    _refuse_unused(context, "loader", loader, _LOADERS)
    torch.set_float32_matmul_precision(matmul_precision)
    overrides = parse_overrides([*(settings or []), *_further(context)])
    if epochs is not None:
        if overrides.get("epochs", epochs) != epochs:
            raise ValueError(
                f"--epochs {epochs} and --set epochs={overrides['epochs']} differ; give one of them"
            )
        overrides["epochs"] = epochs
    try:
        metrics = run_experiment(
            dataset,
            method,
            out,
            root=root,
            seeds=range(seeds),
            protocol=protocol,
            overrides=overrides,
            pot=pot,
            classifier=probe,
            held_out_links=hold_out_links,
            selection=selection,
            oracle=oracle,
            approximation=approximation,
            device=device,
            precision=precision,
            progress=progress,
            tensorboard=tensorboard,
            batching=Batching(
                loader=loader,
                batch_size=batch_size,
                fan_out=tuple(parse_fan_out(fan_out)),
                queue=queue,
                momentum=key_momentum,
                partition=partition,
                hard_every=hard_every,
            ),
            devices=devices,
            nodes=nodes,
        )
    except KeyboardInterrupt:
        if is_first(devices * nodes):
            _tell_end(f"interrupted; the same command continues the run in {out}")
        raise
    if is_first(devices * nodes):
        show_metrics(console, metrics)
        console.print(escape(f"written to {out}"))


def _further(context: typer.Context) -> list[str]:
    """The settings after the first of one ``--set``."""
    for word in context.args:
        if "=" not in word or word.startswith("-"):
            raise ValueError(f"unexpected {word!r}; settings are given as --set key=value")
    return list(context.args)


def _refuse_unused(
    context: typer.Context, choice: str, chosen: str, readers: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuse options that are not read with what was chosen: a forgotten choice, mostly."""
    for name, values in readers.items():
        source = context.get_parameter_source(name)
        asked = source is not None and source.name == "COMMANDLINE"
        if asked and context.params[name] is not False and chosen not in values:
            raise ValueError(
                f"--{name.replace('_', '-')} has no effect with --{choice} {chosen}; it is for "
                f"--{choice} {' or '.join(values)}"
            )


@app.command()
def evaluate(
    context: typer.Context,
    run: Annotated[Path, typer.Option(help="Run directory.")],
    task: Annotated[
        Literal["classify", "cluster", "links"], typer.Option(help="What to measure.")
    ] = "classify",
    root: Root = None,
    protocol: Annotated[
        str | None, typer.Option(help="For classify; default the run's own protocol.")
    ] = None,
    probe: Annotated[
        Probe | None, typer.Option(help="For classify; default the run's own.")
    ] = None,
    oracle: Annotated[
        bool, typer.Option(help="For cluster: pick the restart by the labels, and say so.")
    ] = False,
) -> None:
    """Evaluate the embeddings of a run.

    Example: graphcl evaluate --run runs/digits --task cluster
    """
    from graphcl.cli.report import show_metrics
    from graphcl.train.evaluation import evaluate_run

    _refuse_unused(context, "task", task, _TASKS)
    metrics = evaluate_run(run, task, root=root, protocol=protocol, classifier=probe, oracle=oracle)
    show_metrics(console, metrics)


@app.command()
def plot(
    run: Annotated[Path, typer.Option(help="Run directory.")],
    seed: Annotated[int | None, typer.Option(help="Which seed; default the first.")] = None,
) -> None:
    """Draw loss curves, a 2-d projection and similarity histograms as PNG files.

    Of a run with POT also the nodes' compactness before and after training.

    Example: graphcl plot --run runs/digits
    """
    from graphcl.cli.plots import plot_run

    for path in plot_run(run, seed=seed):
        console.print(escape(str(path)))
