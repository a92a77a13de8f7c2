"""The command line of `app.py`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from aa_jax.arguments import Parser, respelled

DESCRIPTION = """\
Shows a page in the browser on which one reference picture and a sequence of poses become a video.

The page is for this machine alone unless --host says otherwise; nothing is sent anywhere. One video
is made at a time, further ones wait. Uploads and results go when the page is ended.
"""

EXAMPLES = """\
examples:
  the bundled weights, at http://127.0.0.1:7860
    python app.py
  your own weights to choose from
    python app.py --weights runs/stage2/weights weights/moore --port 8000
  with the report of a dataset that prepare.py has made
    python app.py --datasets data
  for everybody in the network
    python app.py --host 0.0.0.0
"""

WAITING = 20
"""How many videos may wait before a further one is refused."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where the page cannot be shown, 2 for wrong flags."""
    from aa_jax import cli

    given = sys.argv[1:] if argv is None else argv
    try:
        flags = _parser().parse_args([respelled(argument, "_") for argument in given])
    except SystemExit as stop:
        return int(stop.code or 0)
    return cli.report_errors(lambda: run(flags))


def run(flags: argparse.Namespace) -> None:
    """Shows the page until it is ended by Ctrl-C.

    Raises:
      WeightsError: one of the directories holds no weights.
      DatasetError: one of the folders is no dataset.
      PageError: gradio is missing, or the port is in use.
    """
    _check_port(flags.host, flags.port)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise PageError("the page needs gradio: pip install 'aa_jax[web]'") from None
    from aa_jax import weights
    from aa_jax.page import layout

    for directory in flags.weights:
        weights.load_config(directory)
    page, jobs = layout.make(flags.weights, flags.datasets, flags.dwpose, flags.pose_models)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended with the page
    print(f"the page is at http://{flags.host}:{flags.port}; Ctrl-C ends it", flush=True)
    try:
        page.queue(max_size=WAITING, default_concurrency_limit=1).launch(
            server_name=flags.host,
            server_port=flags.port,
            max_file_size=f"{flags.max_upload}mb",
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            enable_monitoring=False,
        )
    finally:
        jobs.close()


class PageError(ValueError):
    """The page cannot be shown; the message says why, and the fix."""


def _check_port(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise PageError(
            f"port {port} of {host} cannot be used ({reason}); choose another with --port or --host"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="app.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--weights",
        nargs="+",
        default=["bundled"],
        metavar="DIR",
        help="weights directories to choose from, the first unless another is chosen; default: the "
        "bundled model",
    )
    add(
        "--datasets",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders that prepare.py has written, whose reports the page then shows",
    )
    add(
        "--dwpose",
        metavar="DIR",
        help="folder of DWPose's two files, for driving videos; default: AA_JAX_DWPOSE_DIR",
    )
    add(
        "--pose_models",
        metavar="DIR|WHEEL",
        help="BlazePose's files without a network: a folder of them, or the wheel they are in; "
        "default: they are fetched once (36 MB)",
    )
    add("--port", type=_port, default=7860, metavar="N", help="default: %(default)s")
    add(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="whose requests are answered; default: %(default)s, this machine's alone",
    )
    add(
        "--max_upload",
        type=_megabytes,
        default=200,
        metavar="MB",
        help="the largest file that is taken; default: %(default)s",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, got {text!r}")
    return int(text)


def _megabytes(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a number of megabytes, got {text!r}")
    return int(text)
