"""`qwenvl chat`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, load_model, model_options, positive, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "chat", run, "talk to a model about pictures; without PROMPT an interactive session")
    p.add_argument("prompt", nargs="?", metavar="PROMPT", help="one question; without it a session begins")
    model_options(p)
    p.add_argument("--image", type=Path, action="append", default=[], metavar="PATH", help="a picture (repeatable)")
    p.add_argument("--draw", type=Path, metavar="PATH", help="write the picture with the answer's boxes drawn")
    p.add_argument("--raw", action="store_true", help="print the answer with its tags, as generated")
    p.add_argument("--system", help="other words for the system turn")
    p.add_argument("--max-new-tokens", type=positive, default=256)
    p.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")


def run(options: argparse.Namespace) -> None:
    """`qwenvl chat`."""
    if options.draw and options.prompt is None:
        raise UsageError("--draw needs a PROMPT; in a session type /draw PATH after an answer")
    if options.draw and not options.image:
        raise UsageError("--draw needs a picture to draw on: --image PATH")
    from qwenvl.data.images import load_image

    # Pictures are checked before the model is loaded, which takes longer.
    pictures = [load_image(path, name=str(path), verify=True) for path in options.image]
    from qwenvl.serve import Chat, Generation
    from qwenvl.serve.session import Session, draw_to

    loaded = load_model(options)
    settings = Generation(options.max_new_tokens, options.temperature)
    talk = Chat(
        loaded.model, loaded.tokenizer, options=settings, **({"system": options.system} if options.system else {})
    )
    if options.prompt is None:
        _line_editing()
        Session(talk, pictures).run()
        return
    if options.raw:
        print(talk.ask(options.prompt, pictures).raw)
    else:
        Session(talk, pictures).ask(options.prompt)
    if options.draw:
        draw_to(talk.reply, options.draw)
        print(f"wrote {options.draw}")


def _line_editing() -> None:
    """Arrow keys and history at the prompt, where the system has readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return
