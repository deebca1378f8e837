"""Pieces of HTML that can be put together safely: text is escaped by the functions, never by their callers."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Markup:
    """HTML that is safe to place in a page."""

    html: str

    def __add__(self, other: Markup) -> Markup:
        return Markup(self.html + other.html)


NOTHING = Markup("")
Content = Markup | str | int | float


def safe(content: Content) -> str:
    """Markup as it is, everything else escaped.

    >>> safe('<b onclick="x">'), safe(Markup("<b>"))
    ('&lt;b onclick=&quot;x&quot;&gt;', '<b>')
    """
    return content.html if isinstance(content, Markup) else html.escape(str(content), quote=True)


def join(parts: Iterable[Content]) -> Markup:
    """The parts one after the other, text escaped."""
    return Markup("".join(safe(p) for p in parts))


def element(tag: str, *content: Content, **attributes: str) -> Markup:
    """<tag attribute="…">content</tag>; class_ stands for class.

    >>> element("p", "a < b", class_="note").html
    '<p class="note">a &lt; b</p>'
    """
    words = "".join(f' {name.rstrip("_").replace("_", "-")}="{safe(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{words}>{join(content).html}</{tag}>")


def breakable(text: str, length: int = 20) -> Content:
    """Text that may be broken anywhere if one of its words is longer than `length` characters."""
    return element("span", text, class_="long") if max(map(len, text.split()), default=0) > length else text


def section(identity: str, title: str, *content: Content) -> Markup:
    """<section> of that id with a heading."""
    return element("section", element("h2", title), *content, id=identity)


def bullets(items: Iterable[Content]) -> Markup:
    """<ul> with an item for each."""
    return element("ul", *(element("li", item) for item in items))


def table(
    head: Sequence[str], rows: Iterable[Sequence[Content]], *, numbers: Sequence[int] = (), class_: str = ""
) -> Markup:
    """A table whose cells carry their column's name, so that a narrow screen can show rows as cards.

    numbers: columns that are set flush right.
    """

    def mark(i: int) -> dict[str, str]:
        return {"class_": "n"} if i in numbers else {}

    body = [
        element("tr", *(element("td", cell, data_label=head[i], **mark(i)) for i, cell in enumerate(row)))
        for row in rows
    ]
    top = element("tr", *(element("th", name, scope="col", **mark(i)) for i, name in enumerate(head)))
    return element("table", element("thead", top), element("tbody", *body), **({"class_": class_} if class_ else {}))


def pairs(rows: Iterable[tuple[Content, Content]]) -> Markup:
    """Names and values."""
    return element("dl", *(element("dt", k) + element("dd", v) for k, v in rows))


def picture(wide: bytes, narrow: bytes, alt: str, caption: Content, *, half: bool = False) -> Markup:
    """Two SVG pictures of one thing inside the page; a narrow screen shows the narrow one. half: of the page's width."""

    def address(svg: bytes) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()

    source = f'<source media="(max-width: 640px)" srcset="{address(narrow)}">'
    image = f'<img alt="{safe(alt)}" src="{address(wide)}">'
    whole = Markup(f"<picture>{source}{image}</picture>") + element("figcaption", caption)
    return element("figure", whole, **({"class_": "half"} if half else {}))


STYLE = """
:root{color-scheme:light;--ink:#1a1d21;--soft:#565d66;--line:#dfe3e8;--tint:#f4f7fa;--brand:#1f4e79;--warn:#a33c00}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;color:var(--ink);background:#fff;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:0 16px 64px}
header{border-bottom:3px solid var(--brand);padding:28px 0 14px;margin-bottom:20px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:44px 0 10px;padding-bottom:4px;border-bottom:1px solid var(--line)}
h3{font-size:1.05rem;margin:28px 0 8px;overflow-wrap:anywhere}
h4{margin:22px 0 6px}
p{margin:8px 0;max-width:46em}
header p,.soft,figcaption{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.92rem;margin:10px 0 0}
a{color:var(--brand)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(122px,1fr));gap:10px;margin:18px 0}
.tile{background:var(--tint);border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:1.4rem;line-height:1.25;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile span{color:var(--soft);font-size:.88rem}
.plain{background:var(--tint);border-left:4px solid var(--brand);padding:10px 16px;border-radius:0 8px 8px 0}
.warn{border-left-color:var(--warn)}
figure{margin:18px 0;break-inside:avoid}
figure img{display:block;width:100%;height:auto}
figure.half{max-width:560px}
figcaption{font-size:.9rem;margin-top:4px;max-width:50em}
table{border-collapse:collapse;width:100%;font-size:.92rem;margin:10px 0;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);border-bottom:2px solid var(--line)}
th,td{padding:6px 9px;vertical-align:top}
.long{overflow-wrap:anywhere}
th:first-child,td:first-child{padding-left:0}
td{border-bottom:1px solid var(--line)}
.n{text-align:right;white-space:nowrap}
.when{white-space:nowrap}
th.n{white-space:normal}
table.words td{min-width:7em}
dl{display:grid;grid-template-columns:minmax(9em,auto) 1fr;gap:5px 18px;margin:10px 0;font-size:.94rem}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
code{font:.88em/1.5 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
ul{padding-left:1.2em;max-width:46em}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:10px;font-size:.88rem;color:var(--soft)}
@media (max-width:640px){
 h1{font-size:1.4rem}
 .tiles{grid-template-columns:1fr 1fr}
 dl{grid-template-columns:minmax(6em,36%) 1fr;gap:4px 12px}
 thead{display:none}
 table,tbody,tr,td{display:block;width:100%}
 tr{border:1px solid var(--line);border-radius:8px;padding:6px 12px;margin:0 0 10px}
 td,td.n{display:flex;justify-content:space-between;gap:16px;text-align:right;padding:3px 0;border:0}
 td:empty{display:none!important}
 td::before{content:attr(data-label);color:var(--soft);text-align:left;flex:0 0 auto}
 table.words td{display:block;text-align:left}
 table.words td::before{display:block;font-size:.85rem}
}
@media print{
 @page{margin:15mm}
 body{font-size:10.5pt}
 main{max-width:none;padding:0}
 nav,footer a{display:none}
 h2,h3,h4{break-after:avoid}
 figure.half{max-width:85mm}
 table{font-size:8.5pt}
 tr,.tile,.plain{break-inside:avoid}
 .tile,.plain{border:1px solid var(--line)}
}
"""


def page(title: str, run: str, *content: Content) -> str:
    """A whole document that loads nothing and runs nothing. run: a digest that tells which run it is of."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="securegen-run" content="{safe(run)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{join(content).html}\n</main>\n</body>\n</html>\n"
    )
