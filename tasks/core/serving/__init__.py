"""Serving: request bodies to arrays, arrays to answers, answers to bytes; nothing here touches a network or a disk."""
