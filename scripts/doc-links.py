#!/usr/bin/env python3
"""Checks the pages that `cargo doc` has made: each link leads somewhere, pictures are in their page, and the front page leads
to every guide.

    python3 scripts/doc-links.py [target/doc]
"""

import html.parser
import pathlib
import sys

CRATE = "tch_dropout"


class Page(html.parser.HTMLParser):
    """What a page links to, its anchors and its pictures; and links that rustdoc left as Markdown."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.pictures, self.unresolved = [], set(), [], []
        self.bracket = False
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "img" and "alt" in attributes:
            self.pictures.append(attributes["src"])
        if tag == "code" and self.bracket:
            self.unresolved.append(self.getpos())

    def handle_data(self, text):
        # `[<code>` is a link whose target rustdoc did not find; in code, it is a slice or an attribute.
        self.bracket = self.get_starttag_text() != "<code>" and text.endswith("[")


def problems(pages, path):
    page = pages[path]
    for link in page.links:
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("javascript:"):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists():
            yield f"links to {link}, which is not there"
        elif anchor and file in pages and anchor not in pages[file].anchors:
            yield f"links to {link}, which has no such heading"
    yield from (f"{picture[:40]} is not in the page" for picture in page.pictures if not picture.startswith("data:"))
    yield from (f"line {line} has a link without a target" for line, _ in page.unresolved)


def main():
    root = pathlib.Path(*sys.argv[1:] or ["target/doc"]).resolve() / CRATE
    pages = {path: Page(path) for path in root.rglob("*.html")}
    found = [f"{path.relative_to(root)}: {what}" for path in pages for what in problems(pages, path)]
    guides = [path for path in pages if path.match(f"{CRATE}/guide/*/index.html")]
    front = {(root / link.partition("#")[0]).resolve() for link in pages[root / "index.html"].links}
    found += [f"the front page does not lead to {guide.relative_to(root)}" for guide in guides if guide not in front]
    pictures = sum(len(pages[guide].pictures) for guide in guides)
    print(f"{len(pages)} pages, {len(guides)} guides with {pictures} pictures")
    if found or not guides or not pictures:
        sys.exit("\n".join(found) or "no guides, or no pictures in them")


if __name__ == "__main__":
    main()
