"""The embedded world: scenes, clips, questions and answers."""
