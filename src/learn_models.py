"""Model selection: search the grid of ``src/config.py``, on this machine or on a Dask cluster.

``python -m src.learn_models`` tries every trial, reports each to ClearML, saves the models under ``src/pkls``
and the results under ``logs`` and in the bucket, and prints who leads and what to put into ``src/config.py``.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import BrokenProcessPool
from tqdm import tqdm

from src import cli
from src.config import DATA_POINTER, GRID, PROJECT, SEARCH_RULE
from src.core import dataset, wine
from src.core.experiment import TrialRecord, name_search, write_search
from src.core.wine import CLASSES
from src.errors import MissingError, SearchError, StackError
from src.search import leaderboard
from src.search.journal import LEADERBOARD, Journal
from src.search.trials import Result, Rows, Trial, evaluate, list_trials
from src.tracking import SESSIONS, Run, Tracker, read_tracking_settings

DATA = PROJECT / DATA_POINTER.stem / wine.FILE
PATIENCE = 5  # seconds that a scheduler, and its first worker, may take to answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search; returns the exit code: 0, 1 for an error, 130 after Ctrl-C."""
    options = _parse(arguments)
    return cli.run("learn_models", lambda: _search(options))


def run(trials: Sequence[Trial], rows: Rows, journal: Journal, tracker: Tracker) -> bool:
    """Evaluate what the journal lacks, writing down each result as it comes; False after Ctrl-C.

    Where and on how many processes is joblib's ``parallel_config``.

    Raises:
        SearchError: a worker died.

    """
    missing = journal.list_missing(trials)
    jobs = (delayed(evaluate)(trial, rows) for trial in missing)
    try:
        with _ignored_interrupts():
            # one by one: a result that waits for its batch would be lost to a Ctrl-C
            generator = Parallel(batch_size=1, return_as="generator_unordered")(jobs)
        with closing(generator) as results:
            with tqdm(results, "search", len(trials), initial=len(trials) - len(missing)) as bar:
                for result, model in bar:
                    journal.add(result, model)
                    tracker.record(_describe(result))
                    bar.set_postfix_str(_name_best(journal.select(trials)))
    except KeyboardInterrupt:
        return False
    except BrokenProcessPool as error:
        raise SearchError(f"a worker died ({error}); keep what is done and go on with --resume") from error
    return True


def report(results: Sequence[Result], file: Path) -> None:
    """Write the leaderboard to ``file``; print its heads, what failed, and the choice of each model.

    Raises:
        SearchError: there is nothing to report.

    """
    board = leaderboard.rank(results)
    board.to_csv(file, index=False)
    failed = [result for result in results if result.error]
    for result in failed:
        print(f"learn_models: {result.task} failed: {result.error}", file=sys.stderr)
    if len(failed) == len(results):
        raise SearchError("no trial has a result")
    print("\n\n".join(leaderboard.format_board(board, by) for by in leaderboard.RANKS))
    for model in GRID:
        if choice := leaderboard.choose(results, model):
            figure = choice.scores["cv"][SEARCH_RULE.metric]
            print(f"\n{choice.task} is cross-validation's choice ({SEARCH_RULE.metric} {figure}); for src/config.py:")
            print(leaderboard.format_choice(choice))
    print(f"\n{len(results)} result(s) in {file}")


def publish(records: Sequence[TrialRecord]) -> None:
    """Push a search to the bucket that the environment names, if any, where the page finds it; print where it lies.

    A bucket that does not take it fails nothing: the journal has all of it.
    """
    if not records or not os.environ.get("BUCKET"):
        return
    from src.storage.bucket import Bucket  # a search needs none

    key = name_search(datetime.now(UTC))
    try:
        bucket = Bucket.from_environment()
        bucket.put(key, write_search(records))
    except StackError as error:
        print(f"learn_models: the bucket did not take the results: {error}; try again with --resume", file=sys.stderr)
    else:
        print(f"{len(records)} result(s) for the page in s3://{bucket.name}/{key}")


def read_data(file: Path) -> pd.DataFrame:
    """Read the table; what ``data.dvc`` names is pulled from the bucket where it is not there yet.

    Raises:
        DataError: it is not the table of ``src/core/wine.py``.
        MissingError: there is no such file.
        StackError: it could not be pulled.

    """
    if file == DATA and not file.exists():
        _pull_data()
    try:
        return dataset.read(file)
    except FileNotFoundError as error:
        raise MissingError(f"{file} is missing; without --data the table is that of {DATA_POINTER.name}") from error


def _search(options: argparse.Namespace) -> int:
    trials = list_trials(options.models or list(GRID), options.limit)
    rows = Rows.split(read_data(options.data))
    settings = read_tracking_settings()
    with _open_backend(options):
        journal = Journal(options.into, rows.fingerprint, options.resume)
        tracker = Tracker(settings, options.into / SESSIONS, lambda text: tqdm.write(text, file=sys.stderr))
        try:
            is_finished = run(trials, rows, journal, tracker)
            report(journal.select(trials), options.into / LEADERBOARD)
        finally:
            try:
                print(tracker.close())
            finally:
                publish(journal.describe(trials, tracker.links))
    if not is_finished:
        print("learn_models: interrupted; go on from here with --resume", file=sys.stderr)
    return 0 if is_finished else cli.INTERRUPTED


def _pull_data() -> None:
    from src import run_dvc  # a search that has its data needs no bucket

    if run_dvc.pull([DATA_POINTER]):
        raise MissingError(f"DVC did not pull what {DATA_POINTER.name} names; it says why above")


def _describe(result: Result) -> Run:
    """Tags have a fixed width, so that sorting them as text sorts them as numbers."""
    scores = {part: result.scores[part] for part in ("train", "test")} if result.error is None else {}
    tags = [result.model, "failed"]
    if result.error is None:
        metric = SEARCH_RULE.metric
        tags = [result.model, f"test {scores['test'][metric]:.4f}", f"gap {abs(result.gap[metric]):.4f}"]
    return Run(result.task, result.parameters, scores, result.confusion, CLASSES, tags, result.error)


def _name_best(results: Sequence[Result]) -> str:
    metric = SEARCH_RULE.metric
    done = [(result.scores["cv"][metric], result.task) for result in results if result.error is None]
    return "best {0:.4f} {1}".format(*max(done)) if done else "none yet"


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C until the block ends; processes started in it do so for good and leave it to their parent.

    A blocked signal would not do: Python's resource tracker unblocks it for every process that comes after.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _open_backend(options: argparse.Namespace) -> Iterator[None]:
    """Have joblib use this machine's processes, or the cluster at ``--scheduler``."""
    if options.backend == "local":
        with parallel_config("loky", n_jobs=options.jobs):
            yield
        return
    if not options.scheduler:
        raise SearchError("--backend dask needs --scheduler tcp://HOST:PORT")
    with _open_cluster(options.scheduler):
        yield


@contextmanager
def _open_cluster(scheduler: str) -> Iterator[None]:
    from distributed import CancelledError, Client, KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise SearchError(f"no Dask scheduler at {scheduler}: {error}") from error
    try:
        with client, parallel_config("dask", client=client, n_jobs=-1, wait_for_workers_timeout=PATIENCE):
            yield
    except (TimeoutError, CommClosedError, CancelledError, KilledWorker, ImportError) as error:
        hint = "start its workers in a checkout of this project, and go on with --resume"
        raise SearchError(f"the Dask cluster gave up: {error}; {hint}") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m src.learn_models", description="Search the grid of src/config.py.")
    parser.add_argument("models", nargs="*", help=f"which models (default: {' '.join(GRID)})")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the first N trials of each model")
    parser.add_argument("--jobs", type=_count, metavar="N", default=cpu_count(), help="processes on this machine")
    parser.add_argument("--resume", action="store_true", help="keep what is done, go on from there")
    parser.add_argument("--backend", choices=["local", "dask"], default="local", help="where to compute")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="the Dask cluster's scheduler")
    parser.add_argument("--data", type=Path, default=DATA, help=f"the table (default: {DATA.name} of data.dvc)")
    parser.add_argument("--into", type=_folder, default=PROJECT, help="the folder that gets logs/ and src/pkls/")
    return parser.parse_args(arguments)


def _folder(text: str) -> Path:
    return Path(text).resolve()  # DVC's pull changes to the project's folder


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
