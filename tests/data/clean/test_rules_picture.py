"""The rules on pictures, columns and addresses."""

import io
import pickle
from pathlib import Path

import pytest
from PIL import Image as PILImage
from PIL import ImageFile

from qwenvl.data.clean.rule import Drop, Rule, Verdict
from qwenvl.data.clean.rules import RULES
from qwenvl.data.clean.rules.blocked_domains import BlockedDomains
from qwenvl.data.clean.rules.columns import Nsfw, Watermark
from qwenvl.data.images import ImageError
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError, from_dict


def picture(width: int, height: int, kind: str = "JPEG", orientation: int = 1) -> bytes:
    buffer = io.BytesIO()
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    noise = PILImage.effect_noise((width, height), 80).convert("RGB")
    noise.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def pair(image: bytes = b"", **meta: object) -> Pair:
    return Pair("web/0/1", "web", image, "a caption", meta=meta)


def judge(rule: Rule, this: Pair) -> Verdict:
    return rule.decide(this, rule.measure(this))


def test_aspect_ratio_is_of_the_longer_side() -> None:
    rule = RULES["aspect_ratio"](max=3.0)
    assert rule.measure(pair(picture(60, 20))) == rule.measure(pair(picture(20, 60))) == 3.0
    assert judge(rule, pair(picture(60, 20))) is None
    assert judge(rule, pair(picture(61, 20))) == Drop("too large")


def test_size_is_the_shorter_upright_side() -> None:
    rule = RULES["size"](min=30.0)
    assert rule.measure(pair(picture(60, 20, orientation=6))) == 20
    assert judge(rule, pair(picture(29, 400))) == Drop("too small")
    assert judge(rule, pair(picture(30, 31))) is None


@pytest.mark.parametrize("name", ["aspect_ratio", "size", "decodable"])
@pytest.mark.parametrize("image", [b"", b"not a picture", picture(40, 40)[:20]])
def test_what_is_no_picture_is_an_image_error(name: str, image: bytes) -> None:
    with pytest.raises(ImageError):
        RULES[name]().measure(pair(image))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_cut_off_picture_has_a_size_but_does_not_decode(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = picture(300, 200, kind)
    rule = RULES["decodable"]()
    assert judge(rule, pair(whole)) is None
    # other libraries tell Pillow to accept what is cut off
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for share in (0.5, 0.9):
        cut = pair(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError):
            rule.measure(cut)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize(
    ("meta", "verdict"),
    [
        ({"punsafe": 0.4}, None),
        ({"punsafe": 0.6}, Drop("unsafe")),
        ({"punsafe": "0.6"}, Drop("unsafe")),
        ({"NSFW": "UNLIKELY"}, None),
        ({"NSFW": "UNSURE"}, None),
        ({"NSFW": " nsfw "}, Drop("unsafe")),
        ({"punsafe": None, "NSFW": "NSFW"}, Drop("unsafe")),
        ({"punsafe": float("nan")}, None),
        ({"nsfw": True}, Drop("unsafe")),
        ({"nsfw": False}, None),
        ({"punsafe": [1.0]}, None),
        ({}, None),
    ],
)
def test_nsfw_as_numbers_and_words(meta: dict[str, object], verdict: Verdict) -> None:
    assert judge(Nsfw(max=0.5), pair(**meta)) == verdict


def test_columns_that_are_missing() -> None:
    assert judge(Watermark(max=0.8), pair()) is None
    assert judge(Watermark(max=0.8, missing="drop"), pair()) == Drop("not known")
    assert judge(Watermark(max=0.8), pair(pwatermark=0.81)) == Drop("watermark")
    rule = from_dict(Watermark, {"columns": ["wm"], "max": 0.1}, "recipe")
    assert judge(rule, pair(wm=0.2, pwatermark=0.0)) == Drop("watermark")
    with pytest.raises(ConfigError, match="none of: keep, drop"):
        from_dict(Watermark, {"missing": "dorp"}, "recipe")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("http://bad.example/a.jpg", "bad.example"),
        ("https://img.cdn.bad.example:8080/a", "bad.example"),
        ("HTTPS://BAD.EXAMPLE./a", "bad.example"),
        ("//bad.example/a", "bad.example"),
        ("http://user:pw@bad.example/a", "bad.example"),
        ("http://good.example@bad.example/", "bad.example"),
        ("http://bad.example@good.example/", ""),
        ("http://notbad.example/", ""),
        ("http://bad.example.good.example/", ""),
        ("http://good.example/bad.example", ""),
        ("http://good.example?x=//bad.example", ""),
        ("http://例子.测试/a", "xn--fsqu00a.xn--0zwm56d"),
        ("http://[::1]/", ""),
        ("http://" + "a." * 3000, ""),
        ("not an address", ""),
        ("", ""),
    ],
)
def test_blocked_domains_match_hosts_and_what_is_below(address: str, found: str) -> None:
    rule = BlockedDomains(domains=("bad.example", "例子.测试"))
    assert rule.measure(pair(url=address)) == found
    assert judge(rule, pair(url=address)) == (Drop("blocked domain") if found else None)


def test_a_list_of_domains(tmp_path: Path) -> None:
    path = tmp_path / "blocked.txt"
    path.write_text("# ours\nbad.example\n\n*.Worse.Example  # and below\n", encoding="utf-8")
    rule = BlockedDomains(file=str(path), columns=("where",))
    assert judge(rule, pair(where="http://x.worse.example/")) == Drop("blocked domain")
    assert judge(rule, pair(url="http://bad.example/")) is None
    before = rule.fingerprint()
    assert before == BlockedDomains(domains=("worse.example", "bad.example")).fingerprint()
    assert before != BlockedDomains(domains=("bad.example",)).fingerprint()
    path.unlink()
    sent = pickle.loads(pickle.dumps(rule))
    assert judge(sent, pair(where="http://bad.example/")) == Drop("blocked domain")
    with pytest.raises(ConfigError, match="can not be read"):
        BlockedDomains(file=str(path))
    with pytest.raises(ConfigError, match="is no domain"):
        BlockedDomains(domains=("http://bad.example/",))
