"""WebDataset tars: whole ones of every form, and each way in which they come broken."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from pathlib import Path

import pytest

from qwenvl.data.sources.pairs import Columns
from qwenvl.data.sources.pairs import unit as limits
from tests.data.pairs.conftest import PAIR, Read, members, picture, tar_bytes


def test_a_pair_is_what_img2dataset_wrote(read: Read) -> None:
    pairs, bad = read(tar_bytes(members(3)))
    assert not bad
    assert [pair.id for pair in pairs] == [f"set/00000/{number:09d}" for number in range(3)]
    assert [pair.caption for pair in pairs] == ["caption 0", "caption 1", "caption 2"]
    assert pairs[1].image == picture(1) and pairs[1].name == "000000001.jpg" and pairs[1].source == "set"
    assert pairs[1].meta == {"key": "000000001", "url": "https://example.com/1.jpg", "width": 40}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", "sub/", "s" * 90 + "/" + "t" * 50 + "/", "ордер/"])
def test_every_form_of_tar_and_long_names(read: Read, format: int, folder: str) -> None:
    found = [(folder + name, content) for name, content in members(2)]
    pairs, bad = read(tar_bytes(found, format))
    assert not bad and [pair.caption for pair in pairs] == ["caption 0", "caption 1"]
    prefix = folder.removeprefix("./")
    assert pairs[0].id == f"set/00000/{(prefix + '000000000')}"


def test_very_long_names(read: Read) -> None:
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        pairs, bad = read(tar_bytes([("n" * 300 + ".jpg", picture()), ("n" * 300 + ".txt", b"words")], format))
        assert not bad and pairs[0].caption == "words" and len(pairs[0].id) < 250


def test_gzip_is_told_by_its_content(read: Read) -> None:
    packed = gzip.compress(tar_bytes(members(3)))
    for name in ("a.tar.gz", "b.tgz", "c.tar"):
        pairs, bad = read(packed, name)
        assert len(pairs) == 3 and not bad
    stored = gzip.compress(tar_bytes(members(3)), 0)
    pairs, bad = read(stored[: 2 * PAIR + 1000], "d.tar.gz")
    assert len(pairs) == 2 and bad[-1].why == "truncated shard"


def test_gzip_bomb_is_not_unpacked(read: Read) -> None:
    bomb = gzip.compress(tar_bytes([*members(1), ("b.bin", bytes(200 << 20))]), 9)
    pairs, bad = read(bomb, "a.tar.gz")
    assert len(pairs) == 1 and "not read on" in bad[-1].detail


@pytest.mark.parametrize("part", [0.0, 0.1, 0.35, 0.5, 0.77, 0.9])
def test_truncated(read: Read, part: float) -> None:
    whole = tar_bytes(members(4))
    used = 4 * PAIR
    cut = whole[: int(used * part)]
    pairs, bad = read(cut)
    assert [pair.id for pair in pairs] == [f"set/00000/{n:09d}" for n in range(len(pairs))]
    assert all(pair.caption == f"caption {n}" and pair.image == picture(n) for n, pair in enumerate(pairs))
    assert len(pairs) == int(used * part) // PAIR  # whole ones come
    assert bad[-1].id == "set/00000/(rest)" and bad[-1].why == "truncated shard"


def test_truncated_between_a_pairs_members(read: Read) -> None:
    pairs, bad = read(tar_bytes(members(2))[: PAIR + 3 * 512])
    assert len(pairs) == 1
    assert [(b.id, b.why) for b in bad] == [
        ("set/00000/000000001", "damaged pair"),
        ("set/00000/(rest)", "truncated shard"),
    ]


def test_every_cut_gives_what_is_whole_and_never_fails(read: Read) -> None:
    whole = tar_bytes(members(2))
    for cut in range(0, 2 * PAIR, 131):
        pairs, bad = read(whole[:cut])
        # the first is known to have no more members once the next one's header is there; the last one's padding is none
        assert len(pairs) == (cut >= PAIR + 512) + (cut >= 2 * PAIR - 512 + len("caption 1")) and bad


def test_damage_takes_no_members_unnoticed(read: Read) -> None:
    """Where .json stands first, a pair that lost it would pass for one without."""
    found = []
    for number in range(4):
        found += [(f"{number}.json", b"{}"), (f"{number}.png", picture(format="PNG")), (f"{number}.txt", b"words")]
    content = bytearray(tar_bytes(found))
    pairs, _ = read(bytes(content))
    assert len(pairs) == 4
    for member in range(3):
        broken = bytearray(content)
        broken[broken.find((b"2.json", b"2.png", b"2.txt")[member])] ^= 0xFF
        pairs, bad = read(bytes(broken))
        assert [pair.id[-1] for pair in pairs] == ["0", "1", "3"]
        assert {b.id.rpartition("/")[2] for b in bad} >= {"2", "(damage)"}


def test_without_the_end_mark_members_may_be_missing(read: Read) -> None:
    pairs, bad = read(tar_bytes(members(2))[: 2 * PAIR])
    assert len(pairs) == 2 and [b.why for b in bad] == ["truncated shard"] and "end mark" in bad[0].detail


def test_damage_in_the_middle_costs_what_it_hits(read: Read) -> None:
    content = bytearray(tar_bytes(members(5)))
    content[2 * PAIR + 10] ^= 0xFF  # the name of the third pair's picture
    pairs, bad = read(bytes(content))
    assert [pair.caption for pair in pairs] == ["caption 0", "caption 1", "caption 3", "caption 4"]
    assert [b.why for b in bad] == ["damaged shard", "damaged pair"]
    assert "at byte 7,168; 1,536 bytes passed over" in bad[0].detail


def test_what_is_no_tar(read: Read) -> None:
    for content in (b"<html>Not found</html>", b"<html>" * 1000, b"\1" * 5000):
        pairs, bad = read(content)
        assert not pairs and bad and all(b.why in ("damaged shard", "truncated shard") for b in bad)
    pairs, bad = read(b"")
    assert not pairs and [b.why for b in bad] == ["truncated shard"]


def test_empty_and_missing_members(read: Read) -> None:
    found = [
        ("a.jpg", b""), ("a.txt", b"empty picture"),
        ("b.txt", b"no picture"), ("b.json", b"{}"),
        ("c.jpg", picture()),
        ("d.jpg", picture()), ("d.txt", b""),
        ("e.jpg", picture()), ("e.json", b""),
    ]  # fmt: skip
    pairs, bad = read(tar_bytes(found))
    assert {b.id[10:]: b.why for b in bad} == {"a": "empty picture", "b": "no picture", "e": "broken JSON"}
    assert {pair.id[10:]: pair.caption for pair in pairs} == {"c": None, "d": ""}


def test_keys_that_come_again(read: Read) -> None:
    found = [("a.jpg", picture(n)) for n in range(3)] + [("b.jpg", picture()), ("a.jpg", picture()), ("a#2.jpg", b"x")]
    pairs, bad = read(tar_bytes(found))
    assert [pair.id[10:] for pair in pairs] == ["a", "a#2", "a#3", "b", "a#4", "a#2#2"] and not bad
    assert pairs[1].image == picture(1)


def test_broken_json_and_words_cost_their_pair(read: Read) -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    broken = [b"{", b"[1]", b"\xff{}", b"null", deep, b'{"n": 1' + b"0" * 5000 + b"}", b""]
    found = []
    for number, content in enumerate(broken):
        found += [(f"{number}.jpg", picture()), (f"{number}.json", content), (f"{number}.txt", b"words")]
    pairs, bad = read(tar_bytes([*found, *members(1), ("x.jpg", picture()), ("x.txt", b"\xff\xfe")]))
    assert [pair.caption for pair in pairs] == ["caption 0"]
    assert [b.why for b in bad[:-1]] == ["broken JSON", "broken JSON", "not UTF-8", *["broken JSON"] * 4]
    assert bad[-1].id == "set/00000/x" and bad[-1].why == "not UTF-8"


def test_json_that_others_could_not_write_again(read: Read) -> None:
    content = b'{"caption": "half \\ud83d", "score": NaN, "title": "\\uD83D\\uDE00 \\udead"}'
    pairs, _ = read(tar_bytes([("a.jpg", picture()), ("a.json", content)]))
    assert pairs[0].caption == "half ?" and pairs[0].meta == {"score": None, "title": "😀 ?"}
    json.dumps(dict(pairs[0].meta), ensure_ascii=False, allow_nan=False).encode()


def test_null_and_wrong_captions(read: Read) -> None:
    rows = [{"caption": None}, {}, {"caption": 5}, {"caption": ["a", "b"]}]
    found = [
        m for n, row in enumerate(rows) for m in ((f"{n}.jpg", picture()), (f"{n}.json", json.dumps(row).encode()))
    ]
    pairs, bad = read(tar_bytes(found))
    assert [pair.caption for pair in pairs] == [None, None]
    assert [b.why for b in bad] == ["caption is no text"] * 2


def test_a_huge_member_by_its_header(read: Read) -> None:
    about = tarfile.TarInfo("big.jpg")
    about.size = 10 << 30
    lie = tar_bytes(members(2))[: 2 * PAIR] + about.tobuf(tarfile.GNU_FORMAT) + tar_bytes(members(1))
    begin = time.process_time()
    pairs, bad = read(lie)
    assert len(pairs) == 2 and [b.why for b in bad] == ["truncated shard"]
    assert "10,737,418,240 bytes" in bad[0].detail
    assert time.process_time() - begin < 5


def test_a_huge_member_that_is_there(read: Read, tmp_path: Path) -> None:
    """A file with a hole: ten gigabytes that take no room and are not read."""
    path = tmp_path / "holes.tar"
    about = tarfile.TarInfo("big.jpg")
    about.size = 10 << 30
    with path.open("wb") as file:
        file.write(about.tobuf(tarfile.GNU_FORMAT))
        file.seek(about.size, io.SEEK_CUR)
        file.write(tar_bytes(members(1)))
    pairs, bad = read(path)
    assert len(pairs) == 1 and [(b.why, b.id.rpartition("/")[2]) for b in bad] == [("picture too large", "big")]


def test_limits_of_words(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("a.jpg", picture()), ("a.txt", b"x" * (limits.MAX_WORDS + 1)), *members(1)]
    pairs, bad = read(tar_bytes(found))
    assert len(pairs) == 1 and [b.why for b in bad] == ["words too long"]


def test_names_that_lead_out_are_but_names(read: Read) -> None:
    names = ["../../etc/passwd.jpg", "/abs/a.jpg", "a/../../b.jpg", "\x1b[31m.jpg", "\xff\n.jpg", "~/c.jpg"]
    pairs, bad = read(tar_bytes([(name, picture()) for name in names]))
    assert not bad
    assert [pair.id[10:] for pair in pairs] == ["etc/passwd", "abs/a", "a/b", "�[31m", "ÿ�", "~/c"]


def test_links_devices_and_folders(read: Read, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (("d.jpg", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE),
                           ("f.jpg", tarfile.FIFOTYPE), ("c.jpg", tarfile.CHRTYPE)):  # fmt: skip
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            tar.addfile(about)
    pairs, bad = read(buffer.getvalue()[: 5 * 512] + tar_bytes(members(1)))
    assert len(pairs) == 1 and [b.id[10:] for b in bad] == ["l", "h", "f", "c"]
    assert {b.why for b in bad} == {"no plain file"} and "is a link" in bad[0].detail


def test_a_tar_in_a_tar_is_not_opened(read: Read) -> None:
    pairs, bad = read(tar_bytes([("inner.tar", tar_bytes(members(3))), *members(2)]))
    assert [pair.caption for pair in pairs] == ["caption 0", "caption 1"]
    assert [(b.id[10:], b.why) for b in bad] == [("inner", "no picture")]
    cut = tar_bytes([*members(1), ("inner.tar", tar_bytes(members(3)))])[: PAIR + 3000]
    pairs, bad = read(cut)
    assert len(pairs) == 1 and bad[-1].why == "truncated shard"


def test_sparse_members_are_named(read: Read) -> None:
    """A pax sparse file (map in its header) and an old GNU one, made by hand: no library writes them."""
    pax = tarfile.TarInfo("GNUSparseFile.0/s.jpg")
    pax.size = 512
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "s.jpg", "GNU.sparse.realsize": "9999"}
    content = pax.tobuf(tarfile.PAX_FORMAT) + bytes(range(256)) * 2
    old = bytearray(tarfile.TarInfo("o.jpg").tobuf(tarfile.GNU_FORMAT))
    old[156:157] = b"S"
    old[124:136] = b"00000001000\0"
    old[482] = 1
    old[148:156] = b" " * 8
    old[148:156] = f"{sum(old):06o}\0 ".encode()
    maps = b"\7" * 504 + b"\0" * 8
    pairs, bad = read(content + bytes(old) + maps + b"\5" * 512 + tar_bytes(members(1)))
    assert len(pairs) == 1 and [(b.id[10:], b.why) for b in bad] == [("s", "no plain file"), ("o", "no plain file")]
    assert all("a sparse file" in b.detail for b in bad)


def test_pax_size_goes_before_the_headers(read: Read) -> None:
    about = tarfile.TarInfo("a.jpg")
    about.size, about.pax_headers = 0, {"size": str(len(picture()))}
    body = picture() + bytes(-len(picture()) % 512)
    pairs, _ = read(about.tobuf(tarfile.PAX_FORMAT) + body + tar_bytes(members(1)))
    assert len(pairs) == 2 and pairs[0].image == picture()


@pytest.mark.parametrize("records", [b"0 path=x\n", b"99999999999 path=x\n", b"-5 path=x\n", b"7 path", b"\xff" * 40])
def test_broken_pax_records_end(read: Read, records: bytes) -> None:
    about = tarfile.TarInfo("././@PaxHeader")
    about.type, about.size = tarfile.XHDTYPE, len(records)
    pairs, bad = read(about.tobuf(tarfile.GNU_FORMAT) + records + bytes(-len(records) % 512) + tar_bytes(members(2)))
    assert len(pairs) == 2 and not bad


def test_concatenated_tars(read: Read) -> None:
    second = [(name.replace("00000000", "10000000"), content) for name, content in members(2)]
    pairs, bad = read(tar_bytes(members(2)) + tar_bytes(second))
    assert len(pairs) == 4 and not bad


def test_other_members_are_passed_over(read: Read) -> None:
    found = [("README", b"x"), ("._000000000.jpg", b"mac"), (".DS_Store", b"x"), *members(1), ("000000000.npy", b"12")]
    pairs, bad = read(tar_bytes(found))
    assert len(pairs) == 1 and not bad


def test_columns_of_the_json(read: Read) -> None:
    row = {"caption": "alt", "blip": "better", "uid": "u7", "URL": "https://e.org/x"}
    content = tar_bytes([("a.jpg", picture()), ("a.json", json.dumps(row).encode()), ("a.txt", b"alt")])
    [pair], _ = read(content, columns=Columns(caption="blip", key="uid"))
    assert pair.caption == "better" and pair.id == "set/00000/u7"
    assert pair.meta == {"caption": "alt", "uid": "u7", "url": "https://e.org/x"}


def test_random_damage_never_raises(read: Read) -> None:
    import random

    chance = random.Random(0)
    whole = tar_bytes(members(3), tarfile.PAX_FORMAT)[: 3 * PAIR]
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.choice((0, 32, 48, 55, 128, 255, chance.randrange(256)))
        pairs, bad = read(bytes(content))
        assert len(pairs) + len(bad) >= 1
