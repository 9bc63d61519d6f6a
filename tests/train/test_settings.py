"""The learning rate of every step."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.train import learning_rate_scale


@given(total=st.integers(1, 300), share=st.floats(0, 1))
def test_it_rises_to_the_peak_and_falls_towards_zero(total, share):
    scales = [learning_rate_scale(step, total, warmup_share=share) for step in range(total)]
    warmup = round(share * total)
    assert all(0 < scale <= 1 for scale in scales)
    assert scales[:warmup] == sorted(scales[:warmup])
    assert scales[warmup:] == sorted(scales[warmup:], reverse=True)
    if warmup:
        assert scales[warmup - 1] == 1
    if total - warmup > 20:
        assert scales[-1] < 0.01
