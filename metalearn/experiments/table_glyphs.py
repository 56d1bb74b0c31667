"""The one table: every learner on glyphs, letters of printed fonts."""

from metalearn.experiments._table import table

STUDY = table("table_glyphs", "glyphs", 736, {}, inner_lr=0.4, ways=(5, 20))
