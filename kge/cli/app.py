"""Commands of ``kge``: datasets, models, train, evaluate, negatives, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Knowledge-graph embedding with PyKEEN: hard but true negatives, exact and quick ranking.",
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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
MatmulPrecision = Annotated[
    Literal["highest", "high", "medium"],
    typer.Option(
        help="Of float32 products, as PyTorch names it; medium multiplies bfloat16 factors where "
        "the processor has units for them.",
    ),
]
Progress = Annotated[bool, typer.Option(help="Show progress bars.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value, where needed section.key=value; repeatable."),
]


def run() -> None:
    """Run the command line; mistakes of the user end in one line, not in a traceback."""
    try:
        app()
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        _tell_end(str(error))
        raise SystemExit(2) from None


def _tell_end(why: str) -> None:
    message = f"[red]kge:[/red] {escape(why)}"
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)


@app.command()
def datasets(root: Root = None) -> None:
    """List the graphs that are found by name; a directory with the same files will do as well.

    Example: kge datasets --root data
    """
    from kge.dataset_folders import SPLITS, dataset_folders
    from kge.ogb_counts import OGB_COUNTS

    table = Table(Column("name", no_wrap=True), *SPLITS, "entity texts", "folder")
    for name, folder in dataset_folders(root).items():
        counts = [folder / f"{split}.txt" for split in SPLITS]
        table.add_row(
            name,
            *(str(_lines(path)) if path.is_file() else "-" for path in counts),
            "yes" if (folder / "entities.tsv").is_file() else "no",
            escape(str(folder)),
        )
    for name, known in OGB_COUNTS.items():
        place = f"{name.replace('-', '_')} of OGB, downloaded when asked for"
        table.add_row(name, str(known.train), str(known.valid), str(known.test), "no", place)
    console.print(table)


def _lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for line in file if line.strip())


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(help="Show the settings of one model.")] = None,
    negatives: Annotated[
        str, typer.Option(help="Kind of negatives whose settings to show as well.")
    ] = "uniform",
) -> None:
    """List PyKEEN's models, or what may be set for one of them and one kind of negatives.

    Example: kge models distmult --negatives hasa
    """
    from kge.experiment.settings import NEGATIVES, model_names, setting_names, settings_for

    if model is None:
        console.print(", ".join(model_names()))
        console.print(f"negatives: {', '.join(NEGATIVES)}")
        return
    settings = settings_for(model, negatives)
    known = setting_names(settings.model, settings.negatives, settings.loss, settings.optimizer)
    title = f"{settings.model}, {settings.negatives}, loss {settings.loss or 'of the loop'}"
    table = Table("section", "setting", "default", title=title)
    for section, defaults in known.items():
        for name, default in {**defaults, **settings.options[section]}.items():
            shown = default if isinstance(default, str | int | float) else "-"
            table.add_row(section, name, escape(str(shown)))
    console.print(table)


@app.command(context_settings={"allow_extra_args": True})
def train(
    context: typer.Context,
    dataset: Annotated[str, typer.Option(help="Name, see: kge datasets; or a directory.")],
    model: Annotated[str, typer.Option(help="Name, see: kge models.")],
    out: Annotated[Path, typer.Option(help="Run directory; the same command continues it.")],
    negatives: Annotated[
        str, typer.Option(help="uniform, bernoulli, hasa, lemon or inbatch.")
    ] = "uniform",
    loss: Annotated[
        str | None, typer.Option(help="PyKEEN's name; default hasa or crossentropy.")
    ] = None,
    root: Root = None,
    epochs: Annotated[int | None, typer.Option(help="At most.", show_default="100")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs, seeds 0, 1, ...")] = 1,
    device: Device = "auto",
    matmul_precision: MatmulPrecision = "highest",
    settings: Overrides = None,
    progress: Progress = True,
) -> None:
    """Train and evaluate a model; the run directory can be continued after an interruption.

    Example: kge train --dataset umls --model distmult --negatives hasa --out runs/umls
    """
    import torch

    from kge.cli.report import show_metrics
    from kge.experiment.keywords import parse_overrides
    from kge.experiment.running import run_experiment

    torch.set_float32_matmul_precision(matmul_precision)
    overrides = parse_overrides([*(settings or []), *_further(context)])
    try:
        metrics = run_experiment(
            dataset,
            model,
            negatives,
            out,
            loss=loss,
            root=root,
            epochs=epochs,
            seeds=range(seeds),
            overrides=overrides,
            device=device,
            progress=progress,
            tell=_tell,
        )
    except KeyboardInterrupt:
        _tell_end(f"interrupted; the same command continues the run in {out}")
        raise
    show_metrics(console, metrics)
    console.print(escape(f"written to {out}"))


def _further(context: typer.Context) -> list[str]:
    """The settings after the first of one ``--set``."""
    for word in context.args:
        if "=" not in word or word.startswith("-"):
            raise ValueError(f"unexpected {word!r}; settings are given as --set key=value")
    return list(context.args)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Option(help="Run directory.")],
    protocol: Annotated[
        Literal["filtered", "unfiltered", "ogb"],
        typer.Option(help="Against all entities, or (ogb) against OGB's or random ones."),
    ] = "filtered",
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For ogb: draw so many entities per triple and side.",
            show_default="OGB's own, or 500",
        ),
    ] = None,
    root: Root = None,
    device: Device = "auto",
    progress: Progress = True,
) -> None:
    """Rank validation and test with the models of a run.

    Example: kge evaluate --run runs/umls --protocol unfiltered
    """
    from kge.cli.report import show_metrics
    from kge.experiment.running import evaluate_run

    if candidates is not None and protocol != "ogb":
        raise ValueError(
            f"--candidates {candidates} has no effect with --protocol {protocol}; it is for "
            "--protocol ogb"
        )
    metrics = evaluate_run(
        run,
        root=root,
        protocol=protocol,
        candidates=candidates,
        device=device,
        progress=progress,
    )
    _tell(metrics["graph"]["convention"])
    show_metrics(console, metrics)


@app.command()
def negatives(
    dataset: Annotated[str, typer.Option(help="Name, see: kge datasets; or a directory.")],
    sampler: Annotated[str, typer.Option(help="uniform, bernoulli, hasa or lemon.")],
    triple: Annotated[
        str | None,
        typer.Option(
            help="Head, relation and tail: labels or names. Without it the sampler is measured on "
            "the training triples: false negatives, diversity, speed."
        ),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option("-n", min=1, help="With --triple: entities per side.", show_default="10"),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory, whose model mines and scores.")
    ] = None,
    root: Root = None,
    settings: Overrides = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Also write what is shown into this file, as CSV.")
    ] = None,
) -> None:
    """Show what a sampler offers for one triple, and which of it is known to be true.

    Without a triple, how it does on all of training: false negatives, diversity, speed.

    Example: kge negatives --dataset nations --sampler uniform --triple "brazil ngo china" -n 5
    """
    from kge.cli.report import OFFERED, offered_rows, report_rows, show_offers, show_report
    from kge.experiment.files import write_csv
    from kge.experiment.keywords import parse_overrides
    from kge.experiment.offering import offer, report

    overrides = parse_overrides(settings or [])
    shared: dict[str, Any] = {"root": root, "run": run, "overrides": overrides, "seed": seed}
    if run is None and sampler.lower() == "hasa" and "hard_share" not in overrides:
        _tell("no model, so that nothing is mined: give --run to see hard negatives")
    if triple is None:
        if num is not None:
            raise ValueError(f"-n {num} is for the negatives of one triple: add --triple")
        found = report(dataset, sampler, **shared)
        show_report(console, found)
        header: tuple[str, ...] = ("figure", "value")
        rows = report_rows(found)
    else:
        offered = offer(dataset, sampler, triple, num=num or 10, **shared)
        show_offers(console, triple, offered)
        header, rows = OFFERED, offered_rows(offered)
    if out is not None:
        write_csv(out, header, rows)
        _tell(f"written to {out}")


@app.command()
def plot(
    run: Annotated[Path, typer.Option(help="Run directory.")],
    seed: Annotated[int | None, typer.Option(help="Which seed; default the first.")] = None,
    root: Root = None,
    device: Device = "auto",
) -> None:
    """Draw learning curves, score distributions and a map of the entities' texts as PNG files.

    Example: kge plot --run runs/umls
    """
    from kge.plots.run_pictures import plot_run

    for path in plot_run(run, seed=seed, root=root, device=device, tell=_tell):
        console.print(escape(str(path)))


def _tell(line: str) -> None:
    console.print(escape(line), highlight=False)
