"""Reports: whole files that stand alone, say what the pictures show, and let nothing from outside become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_8B, MINI_LM, QWEN_7B
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.catalog.shapes import ModelShape
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.assumptions import Assumptions, changed, listed
from undercroft.planning.fitting import Verdict
from undercroft.planning.forecasts import Workload
from undercroft.planning.needs import assumed_in, parse_need
from undercroft.planning.plan import Plan, Site, Subject, make_plan
from undercroft.planning.ranking import Ranking, rank
from undercroft.planning.report import html_of_plan, html_of_ranking, svg_of_plan
from undercroft.planning.report.memory_plots import memory_plot
from undercroft.planning.report.palette import FILLS, INKS, PAPER, STROKES
from undercroft.planning.report.scales import linear, logarithmic
from undercroft.planning.report.words import clean, money, months, significant
from undercroft.planning.targets_of import target_of_device

DEVICES = load_devices()
MADE_AT = "2026-11-21 16:00 UTC"
HOSTILE = "</title><script src=//evil.example></script><img src=x onerror=1>\x00\x1b[31m\u202e\ud800 & \"'"
VOID = {"meta", "br", "img", "link", "input", "hr"}
SVG = "{http://www.w3.org/2000/svg}"
SHAPES = {"llama": LLAMA_8B, "qwen": QWEN_7B, "encoder": MINI_LM}


def planned(
    device: str = "nvidia-l4",
    shape: ModelShape = QWEN_7B,
    users: int = 4,
    machines: int = 1,
    assumed: Assumptions | None = None,
    notes: tuple[str, ...] = (),
    name: str = "a-model",
    **work: object,
) -> Plan:
    entry = DEVICES[device]
    rent = entry.rent.usd if entry.rent is not None else None
    workload = Workload(is_embedding=shape.is_encoder, **work)  # type: ignore[arg-type]
    site = Site(target_of_device(entry), machines, rent)
    return make_plan(Subject(name, shape), site, workload, users=users, assumed=assumed, notes=notes)


def pays_back() -> Plan:
    return planned(
        users=60, assumed=Assumptions(requests_per_user=400, cloud_input=2.0, cloud_output=6.0), context_tokens=2048
    )


KINDS = {
    "fits": planned(),
    "offload": planned("nvidia-rtx-3060-12gb", LLAMA_8B, quantization="F16"),
    "does-not-fit": planned("nvidia-jetson-orin-nano-8gb", LLAMA_8B, quantization="F16"),
    "nothing-fits": planned("raspberry-pi-5-8gb", LLAMA_8B, users=64, context_tokens=32768),
    "without-price": planned("amd-ryzen-ai-9-hx-370"),
    "without-rent": planned("nvidia-rtx-4090"),
    "encoder": planned("nvidia-l4", MINI_LM, context_tokens=256, prompt_tokens=128),
    "free-cloud": planned(assumed=Assumptions(cloud_input=0.0, cloud_output=0.0)),
    "free-machine": planned(assumed=Assumptions(dollar_rate=1e-6, wage=0.0, kwh_price=0.0)),
    "more-than-it-can": planned(users=100, context_tokens=512, assumed=Assumptions(requests_per_user=100_000)),
    "pays-back": pays_back(),
    "many-machines": planned("nvidia-jetson-orin-nano-8gb", users=200, machines=40, context_tokens=1024),
}


class Page(HTMLParser):
    """A page, read to its end: tags in order, what they hold, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()
        assert opened == tag, f"</{tag}> where <{opened}> is open"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(plan: Plan) -> Page:
    return Page(html_of_plan(plan, ["decode: a term", "  its source"], MADE_AT))


def inline_pictures(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def assert_stands_alone(text: str) -> None:
    """No script, and nothing that a browser would fetch."""
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "xlink:href", "style"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_plan_becomes_a_whole_page(kind: str) -> None:
    """Every tag is closed in order, there is one heading, a language and a title; nothing is fetched."""
    html = html_of_plan(KINDS[kind], ["a line"], MADE_AT)
    page = Page(html)
    assert page.open == []
    assert len(page.named("h1")) == 1
    assert page.named("html") == [{"lang": "en"}]
    assert MADE_AT in html
    assert_stands_alone(html)
    assert "nan" not in re.findall(r"[\w.]+", html)
    assert "None" not in re.findall(r"\w+", html)


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_has_a_text_alternative(kind: str) -> None:
    """Each picture is an image with a title and a description of its own, and the ids that it is named by are there."""
    html = html_of_plan(KINDS[kind], [], MADE_AT)
    pictures = inline_pictures(html)
    assert len(pictures) == (4 if KINDS[kind].cost is not None else 2)
    ids = [element.get("id") for element in (e for p in pictures for e in p.iter()) if element.get("id")]
    assert len(ids) == len(set(ids))
    for picture in pictures:
        assert picture.get("role") == "img"
        words = {e.get("id"): e.text or "" for e in picture if e.tag in (f"{SVG}title", f"{SVG}desc")}
        assert set((picture.get("aria-labelledby") or "").split()) == set(words)
        assert all(len(text) > 10 for text in words.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_plan_becomes_a_whole_picture(kind: str) -> None:
    """The SVG is well-formed, says what it shows, and every place in it is a number."""
    text = svg_of_plan(KINDS[kind])
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert len(root.findtext(f"{SVG}desc") or "") > 60
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r"):
            assert -1 < float(element.get(name, "0")) < 5000
    assert "url(" not in text
    assert "href" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_no_mark_leaves_its_plot(kind: str) -> None:
    """Bars, points and the places of words lie inside the frame of their plot."""
    for picture in inline_pictures(html_of_plan(KINDS[kind], [], MADE_AT)):
        _, _, width, height = map(float, (picture.get("viewBox") or "").split())
        for bar in picture.iter(f"{SVG}rect"):
            assert float(bar.get("x", 0)) + float(bar.get("width", 0)) <= width + 0.5
        for mark in picture.iter():
            for across, down in (("x", "y"), ("x1", "y1"), ("x2", "y2"), ("cx", "cy")):
                assert 0 <= float(mark.get(across, 0)) <= width
                assert 0 <= float(mark.get(down, 0)) <= height
        for curve in picture.iter(f"{SVG}polyline"):
            for point in (curve.get("points") or "").split():
                x, y = map(float, point.split(","))
                assert (0 <= x <= width, 0 <= y <= height) == (True, True)


def test_names_from_outside_stay_text() -> None:
    """A model, a device, a note and a line of explanation that try to be markup, or to steer a terminal, are shown."""
    plan = planned(name=HOSTILE, notes=(HOSTILE,))
    target = replace(plan.site.target, name=HOSTILE, host=replace(plan.site.target.host, name=HOSTILE))
    plan = make_plan(plan.subject, Site(target), plan.workload, users=2, notes=plan.notes)
    html, svg = html_of_plan(plan, [HOSTILE], HOSTILE), svg_of_plan(plan)
    assert_stands_alone(html)
    assert ElementTree.fromstring(svg).findall(f".//{SVG}script") == []
    for text in (html, svg):
        assert "&lt;script" in text
        assert not set(text) & {"\x00", "\x1b", "\u202e", "\ud800"}
        text.encode("utf-8")


def test_a_ranking_escapes_the_need() -> None:
    """What somebody wrote as a need is shown and not run."""
    html = html_of_ranking(Ranking((), (), 0, 0), HOSTILE, MADE_AT)
    assert_stands_alone(html)
    assert "&lt;script" in html


def test_tables_have_headers_with_a_scope() -> None:
    """Every header cell of every table says whether it heads a column or a row, and no table is without one."""
    page = page_of(KINDS["pays-back"])
    assert len(page.named("table")) == 6
    assert {header.get("scope") for header in page.named("th")} == {"col", "row"}


def test_every_assumption_is_shown_with_value_unit_and_source() -> None:
    """All names of the assumptions of money are in the page, a changed one as given, each with its unit."""
    assumed = changed(Assumptions(), ["kwh=0.31"])
    page = page_of(planned(assumed=assumed))
    text = " ".join(page.texts)
    for name, value, meaning, source in listed(assumed):
        assert name in text
        assert meaning in text
        assert value in text
        assert source in text
    assert "USD / kWh" in text
    assert "0.31" in text


def test_a_plan_that_does_not_fit_says_by_how_much() -> None:
    """The page names what is needed and what there is, has no speed, and says why there is no cost."""
    text = " ".join(page_of(KINDS["does-not-fit"]).texts)
    assert KINDS["does-not-fit"].fit.verdict is Verdict.NO
    assert "It does not fit in F16" in text
    assert "NVIDIA Jetson Orin Nano 8 GB (Super): needs" in text
    assert "What does not fit has no cost" in text
    assert "It does not fit, not even in" in " ".join(page_of(KINDS["nothing-fits"]).texts)


def test_break_even_is_marked_and_said() -> None:
    """Where owning pays back, both plots mark it and the page says load and months."""
    plan = KINDS["pays-back"]
    assert plan.cost is not None
    assert plan.cost.even_tokens_per_day is not None
    assert plan.cost.even_cloud_months is not None
    html = html_of_plan(plan, [], MADE_AT)
    assert "Owning is cheaper than the cloud from" in html
    assert f"paid back after {months(plan.cost.even_cloud_months)}" in html
    assert re.search(r">even at [\d.]+ [KMB]<", html)
    assert f">cloud: {months(plan.cost.even_cloud_months)}<" in html


def test_a_purchase_that_outlives_its_machine_is_said_to() -> None:
    """A break-even after more years than the machine is to last is no gain, and the page says so."""
    years = [Assumptions(years=y, requests_per_user=400, cloud_input=2.0, cloud_output=6.0) for y in (0.5, 20.0)]
    short, long = (
        html_of_plan(planned(users=60, context_tokens=2048, assumed=assumed), [], MADE_AT) for assumed in years
    )
    assert "longer than the 6 months that it is to last" in short
    assert "that it is to last" not in long


def test_a_machine_that_is_there_is_not_bought() -> None:
    """With a price of nothing the page has no sum to buy and no purchase to pay back, and still the bill of a month."""
    plan = KINDS["fits"]
    target = replace(plan.site.target, price_usd=0.0)
    plan = make_plan(plan.subject, Site(target), replace(plan.workload, quantization=""), users=4)
    page = page_of(plan)
    text = " ".join(page.texts)
    assert "Nothing is bought: the machine is there already." in text
    assert "to buy" not in text
    assert "a month, all in" in text


def test_without_break_even_the_page_says_why() -> None:
    """A cloud that is cheaper at any load, and a machine without a price, each have their sentence."""
    assert "cheaper at any load" in html_of_plan(KINDS["free-cloud"], [], MADE_AT)
    html = html_of_plan(KINDS["without-price"], [], MADE_AT)
    assert html.count("Without a price of the machine there is no break-even.") == 3  # the page, and two pictures
    assert "even at" not in html


def test_bars_of_memory_are_as_long_as_what_is_needed() -> None:
    """The terms of a pool, side by side, reach as far along the axis as its share of what a model may take."""
    plan = KINDS["does-not-fit"]
    (pool,) = plan.fit.pools
    drawing = memory_plot(plan)
    bars = [float(m.get("width", 0)) for m in drawing.marks if m.tag == "rect" and float(m.get("height", 0)) > 20]
    lines = [m for m in drawing.marks if m.tag == "line" and "s-limit" in m.get("class", "")]
    limit = float(lines[0].get("x1", 0)) - 4
    assert sum(bars) / limit == pytest.approx(pool.needed_bytes / pool.available_bytes, rel=0.01)


def ranked(need: str) -> Ranking:
    return rank(load_catalogue().models, DEVICES.values(), load_licences(), parse_need(need))


@pytest.mark.parametrize(
    "need", ["users=20,tps=15,languages=th,budget=3000USD", "users=5000,tps=100,budget=100USD", "task=embed,users=2"]
)
def test_every_ranking_becomes_a_whole_page(need: str) -> None:
    """Also without a candidate, and for embeddings: closed tags, the need, what was assumed, a line for each model."""
    ranking = ranked(need)
    filled = assumed_in(parse_need(need))
    html = html_of_ranking(ranking, need, MADE_AT, filled=filled, assumed=changed(Assumptions(), ["wage=77"]))
    page = Page(html)
    assert page.open == []
    assert [html.count(f"{name}={value} was not asked for") for name, value, _ in filled] == [1] * len(filled)
    assert '<th scope="row">wage</th><td class="number" data-label="Value">77</td>' in html
    assert_stands_alone(html)
    assert need in " ".join(page.texts)
    rejected = {rejection.model for rejection in ranking.rejections}
    assert rejected <= {text.strip() for text in page.texts}
    for picture in inline_pictures(html):
        assert picture.get("role") == "img"
        assert len(picture.findtext(f"{SVG}desc") or "") > 10
    if not ranking.candidates:
        assert "Nothing does all of it" in html


def test_larger_models_stand_before_the_long_table() -> None:
    """From the cheapest on, each shown model is larger and dearer than the one before it."""
    html = html_of_ranking(ranked("users=4,tps=10,licence=commercial"), "users=4", MADE_AT)
    first, rest = html.split("Everything that does it")
    assert "Larger models, each where it costs least" in first
    prices = [float(p.replace(",", "")) for p in re.findall(r'"To buy">([\d,]+) USD<', first)]
    assert len(prices) > 1
    assert prices == sorted(prices)
    assert rest.count("<tr>") > len(prices)


@settings(max_examples=20, deadline=None)
@given(
    device=st.sampled_from(sorted(DEVICES)),
    shape=st.sampled_from(sorted(SHAPES)),
    users=st.integers(1, 3000),
    machines=st.integers(1, 50),
    context=st.integers(1, 512),
    kwh=st.floats(0, 10),
    requests=st.floats(0, 1e5),
    cloud=st.floats(0, 100),
    text=st.text(max_size=60),
)
def test_any_plan_becomes_a_page_and_a_picture(
    device: str,
    shape: str,
    users: int,
    machines: int,
    context: int,
    kwh: float,
    requests: float,
    cloud: float,
    text: str,
) -> None:
    """Whatever was planned with whatever name, both files are well-formed and hold no control character."""
    assumed = Assumptions(kwh_price=kwh, requests_per_user=requests, cloud_input=cloud, cloud_output=cloud)
    plan = planned(
        device, SHAPES[shape], users, machines, assumed, (text,), name=text, context_tokens=context, prompt_tokens=64
    )
    html = html_of_plan(plan, [text], MADE_AT)
    assert Page(html).open == []
    for picture in [*inline_pictures(html), ElementTree.fromstring(svg_of_plan(plan))]:
        assert picture.get("role") == "img"
    assert [c for c in html if not c.isprintable() and c != "\n"] == []


@given(low=st.floats(1e-6, 1e12), factor=st.floats(1, 1e9))
def test_an_axis_has_ticks_that_lie_on_it(low: float, factor: float) -> None:
    """Three ticks or more, rising, between the ends; values outside are drawn at the ends."""
    for scale in (logarithmic(low, low * factor, 0, 100), linear(low * factor, 0, 100)):
        ticks = scale.ticks()
        places = [scale.at(tick) for tick in ticks]
        assert len(ticks) >= 2
        assert places == sorted(places)
        assert all(-0.1 <= place <= 100.1 for place in places)
        assert (scale.at(scale.low / 2), scale.at(scale.high * 2)) == (0, 100)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (significant(0.04123), "0.0412"),
        (significant(1284.4), "1,284"),
        (significant(8.309), "8.31"),
        (money(1284.4, "USD"), "1,284 USD"),
        (money(3.2, "USD"), "3.20 USD"),
        (money(0.0421, "USD"), "0.042 USD"),
        (money(0, "USD"), "0 USD"),
        (months(0.2), "1 month"),
        (months(23.5), "2 years"),
        (months(37.2), "3 years 2 months"),
        (months(1e9), "over 100 years"),
        (clean("ไทย\tالعربية\x07\n"), "ไทย العربية "),
    ],
)
def test_numbers_and_names_are_written_as_people_read_them(shown: str, expected: str) -> None:
    """Three digits that count, money without false cents, months as years, letters of any script."""
    assert shown == expected


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 counts it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear_parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear_parts, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1])
def test_colours_can_be_seen(mode: int) -> None:
    """Against their paper words have a contrast of 4.5 or more, marks of 3, in light and in dark."""
    for name, pair in INKS.items():
        assert contrast(pair[mode], PAPER[mode]) >= 4.5, name
    for name, pair in {**FILLS, **STROKES}.items():
        if name != "grid":
            assert contrast(pair[mode], PAPER[mode]) >= 3, name
