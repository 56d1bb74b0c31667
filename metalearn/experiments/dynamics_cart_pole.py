"""Few-shot models of dynamics: cart-poles of random mass, length, friction, force and delay."""

from metalearn.control import CartPole
from metalearn.experiments._dynamics import dynamics

STUDY = dynamics("cart_pole", CartPole)
