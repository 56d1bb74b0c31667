"""The 8x8 handwritten digits that come with scikit-learn: the smallest real images, with nothing to download."""

from __future__ import annotations

import numpy as np
import torch

from metalearn.pools import Pool, Splits


def digits() -> Splits:
    """Return scikit-learn's digits: 0 to 4 for training, 5 and 6 for validation, 7 to 9 for testing.

    Returns:
        Pools of uint8 images ``[n, 1, 8, 8]``, ink bright: the 17 original levels 0..16 become 0..255. 1,797 images in
        all, 174 to 183 of each digit. Class names are ``"0"`` to ``"9"``.

    Raises:
        ImportError: If scikit-learn is not installed.

    Reference:
        Alpaydin, Kaynak: Optical Recognition of Handwritten Digits (test part), 1998, UCI Machine Learning Repository.

    Example:
        >>> from metalearn.data import digits
        >>> digits().test
        Pool(533 examples [1, 8, 8], 3 classes of 174 to 180)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as err:
        raise ImportError('the digits come with scikit-learn: pip install "metalearn-book[chapters]"') from err
    bundle = load_digits()
    images = torch.from_numpy(np.rint(bundle.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)  # [1797, 1, 8, 8]
    pool = Pool(images, torch.from_numpy(bundle.target.astype(np.int64)))
    return Splits(pool.select(range(5)), pool.select([5, 6]), pool.select([7, 8, 9]))
