"""The one table: every learner on colour photographs in the classes of CIFAR-FS, a sixth of its images."""

from metalearn.experiments._table import table

STUDY = table("table_natural", "cifar100:cifar_fs", 64, {"in_channels": 3, "image_size": 32}, inner_lr=0.1, ways=(5,))
