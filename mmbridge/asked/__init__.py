"""The model as evaluations ask it: by all ranks (`shared`), kept part by part (`journal`), misled (`exchanged`)."""
