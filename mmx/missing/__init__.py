"""Missing modalities: what stands in for the features of a modality that a row lacks.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``M`` modalities.

By default nothing does: fusions leave an absent modality out. An imputation is fitted on the
features of the training rows, and again after every epoch in which encoders train.
"""

from mmx.missing.base import Missing

__all__ = ["Missing"]
