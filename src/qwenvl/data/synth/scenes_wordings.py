"""How users ask in conversations about scenes, in English and Chinese: for a place, a description, the text."""

from __future__ import annotations

from qwenvl.sample import Language

WHERE: dict[Language, tuple[str, ...]] = {
    "en": (
        "Where is {}?",
        "Where is {}?",
        "where is {}",
        "Find {}.",
        "Locate {}.",
        "Show me {}.",
        "Point to {}.",
        "Draw a box around {}.",
        "Can you find {}?",
        "Where is {} in the picture?",
        "Please give the box of {}.",
    ),
    "zh": (
        "{}在哪里？",
        "{}在哪里？",
        "{}在哪儿",
        "框出{}",
        "框出图中的{}",
        "框出{}的位置",
        "找到{}。",
        "请指出{}。",
        "{}在图中的什么位置？",
        "请框出{}。",
    ),
}
"""For a place; `{}` is what is looked for."""

DESCRIBE: dict[Language, tuple[str, ...]] = {
    "en": (
        "Describe the picture.",
        "Describe the image.",
        "Describe this picture.",
        "What is in the picture?",
        "What do you see?",
        "What is this?",
        "Tell me what is in the image.",
        "What does the picture show?",
    ),
    "zh": (
        "描述这张图片。",
        "描述一下",
        "描述一下这张图片。",
        "图里有什么？",
        "这是什么？",
        "你看到了什么？",
        "图中有哪些物体？",
        "请描述图片",
    ),
}
"""For a description."""

DESCRIBE_GROUNDED: dict[Language, tuple[str, ...]] = {
    "en": (
        "Describe the picture with boxes.",
        "Describe the picture and mark every object.",
        "Find all objects.",
        "Draw a box around every object.",
    ),
    "zh": ("描述图片并框出物体。", "框出所有物体", "框出图中的所有物体", "用带定位的方式描述图片。"),
}
"""For a description with boxes."""

READ: dict[Language, tuple[str, ...]] = {
    "en": ("Read the text in the picture.", "What text is in the picture?", "Find the text in the picture."),
    "zh": ("读出图中的文字。", "图中有什么文字？", "识别图中的文字"),
}
"""For every text with its place."""

DIFFERS: dict[Language, tuple[str, ...]] = {
    "en": (
        "What differs?",
        "What is different?",
        "What is the difference between the two pictures?",
        "Compare the two pictures.",
    ),
    "zh": ("有什么不同？", "两张图有什么不同？", "对比两张图片", "两张图片的区别是什么？"),
}
"""For the difference of two pictures."""

REWORDED: dict[Language, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "en": (
        ("What color is", ("What colour is", "What is the color of")),
        ("are there?", ("are in the picture?", "do you see?", "are there in the image?")),
        ("Is there", ("Do you see", "Can you see")),
        ("What does the sign say", ("What is written on the sign", "What does the sign read", "What is on the sign")),
        ("Which digit is it", ("What number is it", "Which number is this", "What digit do you see")),
    ),
    "zh": (
        ("是什么颜色的？", ("是什么颜色？", "的颜色是什么？", "什么颜色？")),
        ("有几个", ("图里有几个", "图中有几个", "有多少个")),
        ("吗？", ("吗", "吗？")),
        ("写着什么？", ("写了什么？", "的字是什么？", "写的是什么？")),
        ("数字是几？", ("数字是多少？", "数字是什么？")),
    ),
}
"""Part of a question as `scenes_questions` words it → what people also say; the first that occurs is replaced."""
