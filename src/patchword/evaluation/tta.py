"""Test-time augmentation: several views of each picture answer together.

Paper      Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural
           networks", section 4.1: probabilities averaged over five crops and their mirror images
Reference  none
Departures those of the views (data/views.py)
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from patchword.data.views import Average, views
from patchword.evaluation.answers import Answers, aligned, looked
from patchword.evaluation.disturbed import Disturbed
from patchword.evaluation.protocol import Finding, Judged, Protocol, Subject
from patchword.evaluation.topk import topk
from patchword.predictor import averaged

BATCH = 256  # views at a time


@dataclass(frozen=True, kw_only=True)
class SeveralViews(Protocol):
    """Top-1, top-5 and cross-entropy with one view of each picture, and with several."""

    views: tuple[str, ...] = ("flip",)  # flip, crops, and scale=NUMBER for each further scale
    average: Average = "probabilities"  # what is averaged over them

    def __post_init__(self) -> None:
        views(self.views)

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's answers without and with the views."""
        count, found = views(self.views).count, self.answers(subject, data)
        plain = subject.answers(data.test)
        under = f"{' '.join(self.views)} ({count} views)"
        scores = [
            replace(score, under=name)
            for name, said in (("as is", plain), (under, found))
            for score in topk(said.logits, said.labels, said.targets).scores
        ]
        before, after = (said.logits.argmax(dim=1) == said.labels for said in (plain, found))
        return Finding(
            data=data.name,
            split=data.split,
            count=len(found.labels),
            scores=tuple(scores),
            notes=(
                f"{count} views of each picture cost {count} times the computing; they put "
                f"{int((after & ~before).sum()):,} answers right and "
                f"{int((before & ~after).sum()):,} wrong",
            ),
            unreadable=found.unreadable,
        )

    def answers(self, subject: Subject, data: Judged) -> Answers:
        """Answer every picture by its views; logits are the logarithms of probabilities."""
        card, how = subject.card, views(self.views)
        rows, columns = card.preprocessing.image_size
        tall = replace(card.preprocessing, image_size=(how.count * rows, columns), crop=1.0)
        source = Disturbed(  # a picture's views stand on one another
            data.test,
            None,
            lambda image, _: how(image, card.preprocessing).transpose(0, 1).flatten(1, 2),
        )

        def look(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
            looks = images.unflatten(2, (how.count, rows)).transpose(1, 2).flatten(0, 1)
            scores = subject.model(looks).unflatten(0, (len(images), how.count))
            return averaged(scores.double(), card.kind, self.average).log()

        size = max(BATCH // how.count, 1)
        return aligned(looked(subject.model, source, tall, look, batch_size=size), source, card)


PROTOCOL = SeveralViews()
