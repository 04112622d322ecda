"""The rules on captions: what they take, what they must leave, and properties that hold for any text."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.data.clean.rule import Change, Drop, Rule, Verdict
from qwenvl.data.clean.rules import RULES
from qwenvl.data.clean.rules.emoji import count_emoji
from qwenvl.data.clean.rules.html import strip_html
from qwenvl.data.clean.rules.patterns import Patterns
from qwenvl.data.clean.rules.script import kind, language_of
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError, from_dict


def pair(caption: str | None, **meta: object) -> Pair:
    return Pair("web/0/1", "web", b"", caption, meta=meta)


def judge(rule: Rule, caption: str | None) -> Verdict:
    this = pair(caption)
    return rule.decide(this, rule.measure(this))


TEXT_RULES: list[Rule] = [
    RULES["html"](),
    RULES["patterns"](),
    RULES["special_tags"](),
    RULES["emoji"](max=0.0),
    RULES["language"](max=0.0),
    RULES["accents"](max=0.15),
    RULES["words"](min=3.0, max=60.0),
    RULES["characters"](min=5.0, max=120.0),
]
by_name = pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.name)

# pieces that rules look for, so that drawn texts meet them
PIECES = """
<b> </b> <br/> <a href="x"> <img src='y' &amp; &amp;amp; &lt; &#38; &#x26;lt; &nbsp &copy; <script> </script> <!-- -->
<PERSON> IMG_1234.jpg DSC00012 http://a.b/c www.a.com @me a@b.cc #x #y #z (click to enlarge) stock photo | Etsy
1200x800 image 3 of 12 !!! .... --- ___ *** | - , ( ) [ ] a b c < > & ;
点击查看大图 微信图片_20200101 _百度百科 。。 （ ） “” 猫 狗 中文
😀 © ™ ❤ é ø ñ ぁ 가 Ж Ω µ
"""
UNSEEN = ["\u200b", "\ufeff", "👨\u200d👩", "1\ufe0f\u20e3", "\ud800", "\x00", "\x85", "\u3000", "\t", "\n"]
DRAWN = st.sampled_from(PIECES.split() + UNSEEN)
TEXTS = st.one_of(
    st.text(st.characters(), max_size=60),
    st.lists(DRAWN, max_size=12).map("".join),
    st.lists(DRAWN, max_size=12).map(" ".join),
)


@by_name
@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_is_judged_and_a_change_is_final(rule: Rule, text: str) -> None:
    verdict = judge(rule, text)
    assert verdict is None or isinstance(verdict, Drop | Change)
    if isinstance(verdict, Change):
        assert verdict.caption != text
        assert verdict.caption == verdict.caption.strip() != ""
        assert judge(rule, verdict.caption) is None


@by_name
def test_no_caption_raises_nothing(rule: Rule) -> None:
    verdict = judge(rule, None)
    assert verdict == (Drop("no caption") if rule.name in ("words", "characters") else None)
    assert not isinstance(judge(rule, ""), Change)


@settings(max_examples=200, deadline=None)
@given(value=st.floats(allow_nan=False), low=st.floats(-100, 100), high=st.floats(-100, 100))
def test_bounds_decide_by_the_value_alone(value: float, low: float, high: float) -> None:
    for name in ("emoji", "language", "accents", "words", "characters", "aspect_ratio", "size"):
        rule = RULES[name](min=low, max=high)
        verdicts = {rule.decide(this, value) for this in (pair("one text"), pair("另一个文本 é 😀"))}
        assert verdicts == {Drop(rule.too_low) if value < low else Drop(rule.too_high) if value > high else None}
        assert rule.thresholds("web") == {"min": low, "max": high}


def test_a_source_has_its_own_bounds() -> None:
    rule = from_dict(RULES["words"], {"min": 3, "sources": {"web": {"min": 5}, "other": {"max": 7}}}, "recipe")
    assert rule.thresholds("web") == {"min": 5.0}
    assert rule.thresholds("other") == {"min": 3.0, "max": 7.0}
    assert rule.thresholds("third") == {"min": 3.0}
    assert judge(rule, "four words are here") == Drop("text too short")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a <b>bold</b> cat", "a bold cat"),
        ("line<br/>break<BR>two", "line break two"),
        ("<p class='x > y'>para</p>text", "para text"),
        ("AT&amp;T &quot;x&quot; Tom&#39;s &#x4e2d;&nbsp;y", 'AT&T "x" Tom\'s 中 y'),
        ("Black &amp White", "Black & White"),
        ("&lt;i&gt;twice&lt;/i&gt; &amp;amp;amp; more", "twice & more"),
        ('cut off <a href="http://x.example/foo', "cut off"),
        ("<!-- c -->d<script>alert(1)</script>e<style>p {}", "d e"),
        ("H<sub>2</sub>O", "H2O"),
        ('<img alt="a > b" src=x.jpg>cat', "cat"),
        ("a<b>bold</b>c", "abold" + "c"),
    ],
)
def test_html_is_taken_out(text: str, plain: str) -> None:
    assert strip_html(text)[0] == plain
    assert judge(RULES["html"](), text) == Change(plain)


@pytest.mark.parametrize(
    "text",
    [
        "x < y and y > z",
        "a<b>c",
        "if a<b and c>d",
        "0.01<p>0.05",
        "I <3 you",
        "<- left, right ->",
        "<PERSON> on a beach",
        "mail <foo@bar.example>",
        "AT&T, R&D, Q&A",
        "?a=1&copy=2",
        "&bogus; &notit;",
        "5 > 3",
    ],
)
def test_what_only_looks_like_html_stays(text: str) -> None:
    assert strip_html(text) == (text, 0)
    assert judge(RULES["html"](), text) is None


def test_nothing_but_markup_is_dropped() -> None:
    assert judge(RULES["html"](), "<br><br/>") == Drop("nothing but markup")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("DSC_0042 - sunset at the beach", "sunset at the beach"),
        ("my holiday IMG_20200101_123456.jpg", "my holiday"),
        ("The cat (click to enlarge)", "The cat"),
        ("A cat (click to enlarge) on a mat", "A cat on a mat"),
        ("Click to enlarge: a cat. Click here. A dog", "a cat. A dog"),
        ("A cat © 2019 John Smith", "A cat John Smith"),
        ("Copyright (c) 2019-2020 a cat", "a cat"),
        ("Image may contain: 1 person", "1 person"),
        ("A dog, read more", "A dog"),
        ("Read more… A dog", "A dog"),
        ("Sunset over the lake | Etsy", "Sunset over the lake"),
        ("Wooden chair - Stock Photo", "Wooden chair"),
        ("Great!!! Really???", "Great! Really?"),
        ("wait..... what", "wait… what"),
        ("see http://a.example/foo?x=1 for details", "see for details"),
        ("photo of red-cat.jpg", "photo of red-cat"),
        ("red_running_shoes on display", "red running shoes on display"),
        ("  double  spaces\n", "double spaces"),
        ("zero\u200bwidth", "zerowidth"),
        ('[caption id="attachment_1"]A dog[/caption]', "A dog"),
        ("美丽的风景（点击查看大图）", "美丽的风景"),
        ("猫咪_百度百科", "猫咪"),
        ("上海夜景，图片来源：新华社", "上海夜景"),
        ("Itâ€™s a dog", "It's a dog"),
        ("Red dress - image 4", "Red dress"),
        ("Painting by John, 1200x800", "Painting by John"),
    ],
)
def test_patterns_are_taken_out(text: str, left: str) -> None:
    assert judge(Patterns(), text) == Change(left)


@pytest.mark.parametrize(
    "text",
    [
        "IMG_1234",
        "IMG_1234.JPG",
        "DSC00012",
        "_MG_1234",
        "P1010234",
        "Screenshot 2020-01-02 at 10.11.12 AM.png",
        "image",
        "Untitled-1",
        "WhatsApp Image 2020-01-02 at 10.11.12",
        "微信图片_20200101123456.jpg",
        "e3b0c44298fc1c149afbf4c8996fb924",
        "Image 3 of 12",
        "click here",
        "http://a.example/b",
    ],
)
def test_a_name_of_a_camera_or_file_is_no_caption(text: str) -> None:
    assert judge(Patterns(), text) == Drop("nothing but irregular patterns")


@pytest.mark.parametrize(
    "text",
    [
        "A red car on the road",
        "4x4 truck in mud, 2019",
        "10x15 cm frame",
        "C++ and C# books",
        "Boeing 747-400",
        "MG 1234 car",
        "A bus with an advertisement on its side",
        "People click here to view larger image files on a screen",
        "Who holds the copyright of this book?",
        "A stock photo agency's office",
        "It is too far away to see more. A dog",
        "the population is 1000000 people",
        "R&D costs $1,000,000",
        "10:30 a.m. on 12/05/2019",
        "Node.js logo in green",
        "What?! No way :-)",
        "IMGs of cats",
        "Stockholm at night",
        "a photo of a gallery wall",
        "Café — “hello”…",
        "第3张 小猫",
    ],
)
def test_plain_captions_have_no_patterns(text: str) -> None:
    assert Patterns().measure(pair(text)) == ""


def test_a_list_of_ones_own(tmp_path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text('- {name: shout, needs: [wow], pattern: "wow-wow+", replace: "oh"}\n', encoding="utf-8")
    assert judge(Patterns(str(path)), "wow-wowww a cat !!!") == Change("oh a cat !!!")
    assert judge(Patterns(skip=("repeated",)), "a cat!!!") is None
    sent = pickle.dumps(Patterns(str(path)))
    path.rename(tmp_path / "moved.yaml")
    assert judge(pickle.loads(sent), "wow-wowww a cat") == Change("oh a cat")
    (tmp_path / "moved.yaml").rename(path)
    prints = {rule.fingerprint() for rule in (Patterns(), Patterns(str(path)), Patterns(skip=("repeated",)))}
    assert len(prints) == 3 and Patterns().fingerprint() in prints


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('- {name: a, pattern: "("}', "not a regular expression"),
        ("- {name: a, pattern: a, replace: '\\2'}", "not a regular expression"),
        ("- {name: a}", "either a 'pattern' or 'phrases'"),
        ("- {name: a, patern: x}", "did you mean 'pattern'"),
        ("a: [", "can not be read"),
        ("just text", "expected a list"),
    ],
)
def test_a_bad_list_says_where(tmp_path, content: str, said: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        Patterns(str(path))
    with pytest.raises(ConfigError, match="no 'clik'"):
        Patterns(skip=("clik",))


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "一只猫",
        "café in Zürich",
        "５００ＡＢＣ！",
        "10 kΩ, 5 µm, 20 °C",
        "α particles",
        "𝐁old ﬁx",
        "“quotes” – dash… ©",
        "cafe\u0301",
        "½ №1 ①",
        "雷・诺 〇 々",
        "😀",
        "1️⃣",
        "ā pinyin nǐ",
    ],
)
def test_english_and_chinese_stay(text: str) -> None:
    assert judge(RULES["language"](max=0.0), text) is None


@pytest.mark.parametrize(
    "text",
    [
        "ねこ",
        "ﾈｺ",
        "カメラ cat",
        "고양이",
        "кот cat",
        "ΑΒΓ cat",
        "قطة",
        "แมว",
        "बिल्ली",
        "cat \ufffd",
        "cat \x86",
        "cat \ue000",
        "cat \ud800",
        "㋐ cat",
        "٣ cat",
    ],
)
def test_other_scripts_go(text: str) -> None:
    assert judge(RULES["language"](max=0.0), text) == Drop("neither English nor Chinese")


def test_the_share_of_foreign_characters() -> None:
    assert RULES["language"]().measure(pair("ねこ ab")) == 0.5


def test_accents() -> None:
    rule = RULES["accents"](max=0.15)
    assert judge(rule, "a café in Zürich, by the lake side") is None
    assert judge(rule, "Beyoncé") is None
    assert judge(rule, "L'été à la plage") == Drop("too many accented words")
    assert judge(rule, "tiếng Việt có dấu") == Drop("too many accented words")


def test_every_character_has_a_kind() -> None:
    kinds = {kind(chr(code)) for code in range(0x5000)}
    assert kinds == {"neutral", "english", "accented", "chinese", "foreign"}
    assert language_of("Nike 运动鞋") == "zh"
    assert language_of("the character 猫 means cat") == "en"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a cat 😀", 1),
        ("👨‍👩‍👧", 1),
        ("🇩🇪🇫🇷", 2),
        ("5️⃣ #⃣", 2),
        ("👍🏽", 1),
        ("❤️", 1),
        ("❤", 1),
        ("☀︎", 0),
        ("©️", 1),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", 1),
        ("🏳️‍🌈", 1),
        ("© ® ™ 5 # * → ★ ✓ №", 0),
        ("㊗ ▶", 0),
        ("▶️", 1),
    ],
)
def test_emoji_are_counted(text: str, count: int) -> None:
    assert count_emoji(text) == count


def test_all_of_unicodes_emoji_are_found() -> None:
    regex = pytest.importorskip("regex")
    every = "".join(map(chr, (*range(0x80, 0xD800), *range(0xE000, 0x110000))))
    shown, others, letters = (
        regex.findall(rf"[{kinds}]", every) for kinds in (r"\p{Emoji_Presentation}", r"\p{Emoji}", r"\p{L}\p{N}\p{P}")
    )
    assert len(shown) > 1000
    assert [c for c in shown if count_emoji(c) != 1] == []
    assert [c for c in others if count_emoji(c + "\ufe0f") != 1] == []
    assert count_emoji("".join(set(letters) - set(others))) == 0


def test_lengths() -> None:
    words, characters = RULES["words"](min=3.0, max=6.0), RULES["characters"](min=2.0, max=4.0)
    assert judge(words, "a cat") == Drop("text too short")
    assert judge(words, "- a cat -") == Drop("text too short")
    assert judge(words, "a b c d e f g") == Drop("text too long")
    assert judge(words, "it's a well-known cat") is None
    assert judge(words, "猫") is None
    assert judge(characters, "猫") == Drop("text too short")
    assert judge(characters, "一只红色的猫") == Drop("text too long")
    assert judge(characters, "红色的猫 Nike") is None
    assert judge(characters, "cat") is None
    assert judge(characters, " ") == Drop("no caption")


def test_special_tags() -> None:
    rule = RULES["special_tags"]()
    assert judge(rule, "<PERSON> on a beach") == Drop("special tag")
    assert judge(rule, "a person <3 beaches [1]") is None
    assert judge(from_dict(RULES["special_tags"], {"tags": ["XX"]}, "recipe"), "axxb") == Drop("special tag")
