"""The one table: every learner on Omniglot in the split of Vinyals et al., with turned characters as classes."""

from metalearn.experiments._table import table

STUDY = table("table_omniglot", "omniglot:vinyals", 4112, {}, inner_lr=0.4, ways=(5, 20))
