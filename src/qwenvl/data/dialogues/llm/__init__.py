"""Conversations that a language model writes about a picture from its captions, boxes and text, checked before use."""
