"""The one table: every learner on Omniglot's own split, tested on letters of twenty alphabets it has never seen."""

from metalearn.experiments._table import table

STUDY = table("table_official", "omniglot:official", 813, {}, inner_lr=0.4, ways=(5, 20))
