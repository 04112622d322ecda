"""Conversations for stage 3 (paper, section 3.3): annotations of pictures joined by strategies, and a language model's.

`qwenvl.data.dialogues.run.make` does it all; the recipe is `qwenvl.data.dialogues.recipe.DialogueRecipe`.
"""
