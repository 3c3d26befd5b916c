"""Many wines: a file in, its predictions out."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import streamlit as st
import table_file
from api import ApiProblem, ask, fetch, read_release, show_problem
from pictures import draw_classes
from table_file import FileProblem, TableFile
from words import say

ROWS = 10_000  # of one request: half a megabyte
SECONDS = 30.0  # for its answer
ARROW = "application/vnd.apache.arrow.stream"
MEGABYTES = 200  # of a file
SHOWN = 1000  # rows of the result; the download has all
NEAR = 1  # grades between two that count as near
STATE = "many"  # the last file's answer, in the session


def show() -> None:
    """Draw the view."""
    st.title(say("nav_many"), anchor=False)
    try:
        release = read_release()
    except ApiProblem as problem:
        show_problem(problem)
        return
    st.markdown(say("many_what", names=", ".join(feature["name"] for feature in release["features"])))
    words = f'--upload: "{say("many_upload")}"; --upload-limit: "{say("many_limit", megabytes=MEGABYTES)}"'
    st.html(f"<style>[data-testid=stFileUploaderDropzone] {{ {words} }}</style>")  # Streamlit says them in English
    dropped = st.file_uploader(say("many_drop"), type=["csv", "txt"], max_upload_size=MEGABYTES)
    if dropped is None:
        _offer_template(release)
        return
    try:
        file = table_file.read(dropped.getvalue(), release)
        _show_faults(file)
        if len(file.values):
            key = dropped.file_id, release["id"]
            if st.session_state.get(STATE, (None,))[0] != key:
                st.session_state[STATE] = key, predict(file.values)
            _show_answer(file, st.session_state[STATE][1], release, dropped.name)
    except FileProblem as problem:
        st.error(str(problem), icon=":material/error:")
    except ApiProblem as problem:
        show_problem(problem)


def predict(values: np.ndarray) -> pa.Table:
    """Return the API's answers for rows (rows, features), asked for in parts, with their progress shown."""
    told = st.progress(0.0, say("many_progress", done=0, total=f"{len(values):,}"))
    parts = []
    for start in range(0, len(values), ROWS):
        parts.append(_ask_for(values[start : start + ROWS]))
        done = min(start + ROWS, len(values))
        told.progress(done / len(values), say("many_progress", done=f"{done:,}", total=f"{len(values):,}"))
    told.empty()
    return pa.concat_tables(parts)


def _ask_for(values: np.ndarray) -> pa.Table:
    names = [feature["field"] for feature in read_release()["features"]]
    columns = [pa.array(column.astype(np.float32)) for column in values.T]
    body = io.BytesIO()
    batch = pa.record_batch(columns, names)
    with pa.ipc.new_stream(body, batch.schema) as writer:
        writer.write_batch(batch)
    headers = {"content-type": ARROW}
    answer = fetch("POST", "/predict/batch", content=body.getvalue(), headers=headers, timeout=SECONDS)
    return pa.ipc.open_stream(answer.content).read_all()


def _offer_template(release: Mapping[str, Any]) -> None:
    """Offer a file that is right, to begin with."""
    features = release["features"]
    lines = [",".join(feature["name"] for feature in features), ",".join(f"{one['median']:g}" for one in features)]
    st.download_button(
        say("many_template"), "\n".join(lines) + "\n", "example.csv", "text/csv", icon=":material/download:"
    )


def _show_faults(file: TableFile) -> None:
    if file.ignored:
        st.caption(say("many_ignored", names=", ".join(file.ignored)))
    if not file.wrong:
        return
    st.warning(say("many_wrong", wrong=f"{file.wrong:,}", total=f"{file.rows:,}"), icon=":material/rule:")
    with st.expander(say("many_faults", count=len(file.faults)), expanded=True):
        st.dataframe(file.faults, hide_index=True, height=min(38 + 35 * len(file.faults), 248))


def _show_answer(file: TableFile, answer: pa.Table, release: Mapping[str, Any], name: str) -> None:
    predicted = answer.column(answer.num_columns - 1).to_numpy()
    st.success(say("many_done", count=f"{len(predicted):,}", release=release["id"]), icon=":material/check:")
    if known := int(np.isfinite(file.truth).sum()):
        apart = np.abs(file.truth - predicted)[np.isfinite(file.truth)]
        right, near = f"{np.mean(apart == 0):.0%}", f"{np.mean(apart <= NEAR):.0%}"
        st.markdown(say("many_truth", known=f"{known:,}", right=right, near=near))
    left, right_column = st.columns([1.1, 1], gap="large")
    with left:
        _show_classes(predicted, release)
    with right_column:
        _show_rows(file, answer, name)


def _show_classes(predicted: np.ndarray, release: Mapping[str, Any]) -> None:
    """Show how often each class was predicted, beside how often training had it."""
    try:
        trained = ask("GET", "/classes")["train"]
    except ApiProblem:
        trained = {}  # the bucket is unreachable; what was predicted is known all the same
    counts = {say("many_predicted"): {label: int((predicted == label).sum()) for label in release["classes"]}}
    if trained:
        counts[say("many_trained")] = {label: trained[str(label)] for label in release["classes"]}
    rows = [
        {"class": label, "of": of, "share": count / sum(each.values()), "text": f"{count / sum(each.values()):.0%}"}
        for of, each in counts.items()
        for label, count in each.items()
    ]
    told = ", ".join(f"{row['class']} ({row['of']}): {row['text']}" for row in rows)
    st.header(say("many_classes"), anchor=False)
    chart = draw_classes(pd.DataFrame(rows), list(counts), say("alt_classes", told=told))
    st.altair_chart(chart, width="stretch")


def _show_rows(file: TableFile, answer: pa.Table, name: str) -> None:
    """Show the first predictions, and offer all, each behind its own row."""
    st.header(say("many_rows"), anchor=False)
    target = answer.column_names[-1]
    labels = answer.column(target).to_numpy()
    surest = np.max([answer.column(place).to_numpy() for place in range(answer.num_columns - 1)], axis=0)
    lines = file.lines[file.good][:SHOWN]
    columns = [say("fault_line"), say("many_class"), say("many_probability")]
    shown = pd.DataFrame(dict(zip(columns, (lines, labels[:SHOWN], surest[:SHOWN]), strict=True)))
    percent = {columns[2]: st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)}
    st.dataframe(shown, hide_index=True, height=250, column_config=percent)
    if len(labels) > SHOWN:
        st.caption(say("many_first", count=f"{SHOWN:,}"))
    stem = name.rpartition(".")[0] or name
    st.download_button(
        say("many_download"),
        lambda: write(file, answer),
        f"{stem}-predicted.csv",
        "text/csv",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
    )


def write(file: TableFile, answer: pa.Table) -> bytes:
    """Return the file with the predictions behind each row, and nothing behind one that has a wrong cell."""
    places = np.cumsum(file.good) - 1
    found = answer.combine_chunks().take(pa.array(places, mask=~file.good))
    names = [*file.table.column_names, *found.column_names]
    table = pa.Table.from_arrays([*file.table.columns, *found.columns], names=names)
    out = io.BytesIO()
    pyarrow.csv.write_csv(table, out, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return out.getvalue()
