"""What tests of pages share: texts that do harm where they are not escaped, and a parser."""

import re
from html.parser import HTMLParser

REVIEWS = (
    "do not buy this piece of junk.",
    "i purchased this unit three months back and i think the unit knew when my warranty expires.",
    "it is more than ninety days and it does not show the picture no matter what i do.",
    "i can only hear the sound.",
    "the battery lasts for two days, which is what the box says.",
    "easily the best camera i have owned, and i have owned several.",
    "works as described.",
    "sound quality is great but the software that comes with it is a nightmare.",
    "it arrived on a tuesday in a brown box.",
    "i love the size and the weight; my wife took it on her trip and came back with a thousand "
    "pictures.",
    "not bad for the price, though i expected more from this brand.",
    "the menu takes some time to learn.",
)
HOSTILE = (
    '<script>alert("x")</script><img src="http://evil.invalid/a.png" onerror="alert(1)"> </section> broken & <b>bold',
    "לא הייתי קונה את זה שוב, הסוללה נגמרת אחרי שעה 😡😡",
    "🎉🔥👍🏽 " * 12,
    "z" * 900,
    "{{ 7 * 7 }} {% raw %} $\\frac{1}{2}$ ]]> --> </style>",
)

VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """Every tag of a page, and whether they close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked_identifiers(text):
    """The identifiers of a page, once it is sure that they are distinct and that nothing points
    beside them."""
    page = Page(text)
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    for _, attrs in page.tags:
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in identifiers
        for name in ("for", "aria-labelledby"):
            assert attrs.get(name, identifiers[0]) in identifiers
    for reference in re.findall(r"url\(#([^)]+)\)", text):
        assert reference in identifiers
    return set(identifiers)
