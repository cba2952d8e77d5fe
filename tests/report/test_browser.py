"""Report pages in headless Chromium, at the width of a phone and of a desktop."""

import shutil

import numpy as np
import pytest

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.report.page import report_html
from tests.report.conftest import HOSTILE
from tests.report.screens import stored_screen
from tests.workflows.campaign import searching

pytestmark = pytest.mark.slow
SIZES = {'desktop': (1280, 900), 'phone': (390, 844)}
WIDTHS = (801, 1100, 1500)
MANY = 10_000


def _many(model_file):
    """Return a screen of many crystals."""
    crystals = searching.crystals(range(MANY))
    generator = np.random.default_rng(0)
    tensors = (2 + 30 * generator.random(MANY))[:, None, None] * np.eye(3)
    unknown = np.full_like(tensors, np.nan)
    columns = (tensors, tensors / 2, 1.5 * tensors, unknown, unknown, unknown)
    errors, flags = np.array([''] * MANY), np.zeros(MANY, np.uint32)
    return stored_screen(
        crystals, Predictions(crystals.ids, crystals.hashes, *columns, flags, errors, 'a' * 40), model_file
    )


@pytest.fixture(scope='module')
def pages(screen, verification, campaign, write_model):
    """Report pages. They are made before the browser is started, in whose event loop AiiDA runs no process."""
    return {
        'small': report_html(screen),
        'verification': report_html(verification),
        'campaign': report_html(campaign),
        'many': report_html(_many(write_model())),
    }


@pytest.fixture(scope='module')
def browser(pages):
    executable = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if executable is None:
        pytest.skip('needs chromium')
    api = pytest.importorskip('playwright.sync_api')
    # without a GPU, WebGL is computed by SwiftShader
    options = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Return a function that opens a page, and afterwards assert that it had no error and loaded nothing."""
    problems, pages = [], []

    def open_(html, size):
        path = tmp_path / 'report.html'
        path.write_text(html, encoding='utf-8')
        width, height = SIZES[size]
        page = browser.new_page(viewport={'width': width, 'height': height}, has_touch=size == 'phone')
        pages.append(page)
        page.set_default_timeout(120_000)  # on a busy machine
        page.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('dialog', lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        local = ('file:', 'data:', 'blob:')
        page.on('request', lambda sent: None if sent.url.startswith(local) else problems.append(sent.url))
        page.goto(path.as_uri())
        page.wait_for_selector('#plot .main-svg')
        return page

    yield open_
    for page in pages:
        page.close()
    assert not problems


def ids(page):
    return page.locator('#table tbody td.name').all_inner_texts()


def corners(page, selector):
    box = page.locator(selector).first.bounding_box()
    return box['x'], box['y'], box['x'] + box['width'], box['y'] + box['height']


@pytest.mark.parametrize('width', WIDTHS)
def test_the_buttons_of_a_plot_cover_neither_legend_nor_data(open_page, pages, width):
    page = open_page(pages['campaign'], 'desktop')
    page.set_viewport_size({'width': width, 'height': 900})
    page.reload()
    for plot in ('#plot', '#parity'):
        page.wait_for_selector(f'{plot} .modebar', state='attached')
        left, top, right, bottom = corners(page, f'{plot} .modebar')
        for covered in ('.legend', '.nsewdrag'):
            x, y, end, low = corners(page, f'{plot} {covered}')
            assert end <= left or right <= x or low <= top or bottom <= y, covered
    titles = {button.get_attribute('data-title') for button in page.locator('#plot .modebar-btn').all()}
    assert not any(word in title for title in titles for word in ('Share', 'Cloud', 'Studio')), titles


@pytest.mark.parametrize('size', SIZES)
def test_sort_filter_and_click(open_page, pages, size):
    page = open_page(pages['small'], size)
    assert page.evaluate('document.documentElement.scrollWidth') <= SIZES[size][0]
    assert HOSTILE in ids(page)
    page.click('button[data-column="gap"]')
    assert ids(page)[:2] == ['MgO', 'AlN']
    assert page.get_attribute('th[aria-sort]', 'aria-sort') == 'descending'
    page.click('button[data-column="gap"]')
    assert ids(page)[:2] == ['Si', 'GaAs']  # without a gap, broken.cif is last in both directions
    assert ids(page)[-1] == 'broken.cif'

    page.fill('#elements', 'ti, O')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 2")
    assert sorted(ids(page)) == sorted(['TiO2', HOSTILE])
    page.fill('#search', 'tio2')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 1")
    page.click('#table tbody tr')
    assert 'TiO2' in page.inner_text('#detail h3')
    assert '6.00' in page.inner_text('#detail .tensors')
    page.wait_for_selector('#crystal canvas')
    page.click('#reset')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 7")
    page.select_option('#status', 'excluded')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 3")


@pytest.mark.parametrize('size', SIZES)
def test_page_of_a_verification(open_page, pages, size):
    page = open_page(pages['verification'], size)
    assert page.evaluate('document.documentElement.scrollWidth') <= SIZES[size][0]
    page.select_option('#status', 'computed')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 3")
    verdicts = dict(zip(ids(page), cells(page, 'DFPT'), strict=True))
    assert verdicts == {'GaAs': 'accepted', 'Si': 'refused', 'TiO2': 'failed'}
    averages = dict(zip(ids(page), cells(page, 'ε total, DFPT'), strict=True))
    assert float(averages['GaAs']) == pytest.approx(1.5 * 14.5, rel=0.01)
    assert averages['TiO2'] == ''
    page.wait_for_selector('#parity .main-svg')
    drawn = page.evaluate("document.getElementById('parity').data.flatMap((one) => one.customdata ?? [])")
    assert len(drawn) == 2  # those with a computed tensor
    assert page.inner_text('#parity-text').startswith('1 accepted, mean relative error 10 %')  # Si is refused
    page.select_option('#parity-part', 'electronic')
    page.click('#table tbody tr:first-child')
    assert 'GaAs' in page.inner_text('#detail h3')
    assert 'accepted' in page.inner_text('#detail')
    assert 'TiO2' in page.inner_text('#failures')


@pytest.mark.parametrize('size', SIZES)
def test_page_of_a_campaign(open_page, pages, size):
    page = open_page(pages['campaign'], size)
    assert page.evaluate('document.documentElement.scrollWidth') <= SIZES[size][0]
    rounds = page.locator('#rounds tbody tr')
    assert rounds.count() == 2
    page.select_option('#status', 'computed')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 4")
    verdicts = cells(page, 'DFPT')
    assert sorted(verdicts) == ['accepted'] * 3 + ['failed']
    failed = ids(page)[verdicts.index('failed')]
    assert failed in page.inner_text('#failures')
    page.wait_for_selector('#parity .main-svg')
    drawn = page.evaluate("document.getElementById('parity').data.flatMap((one) => one.customdata ?? [])")
    assert len(drawn) == 3
    page.click('#table tbody tr:first-child')
    assert ids(page)[0] in page.inner_text('#detail h3')
    page.wait_for_selector('#crystal canvas')


def cells(page, title):
    """Return the texts of the column of the table with a title."""
    titles = [text.strip() for text in page.locator('#table thead th').all_inner_texts()]
    place = next(place for place, text in enumerate(titles, 1) if text.split('\n')[0].strip(' ▲▼') == title)
    return page.locator(f'#table tbody td:nth-child({place})').all_inner_texts()


def test_click_on_a_point(open_page, pages):
    page = open_page(pages['small'], 'desktop')
    place = page.evaluate("""() => {
        const plot = document.getElementById('plot');
        const trace = plot.data.find((one) => one.name.startsWith('selected'));
        const [x, y] = [plot._fullLayout.xaxis, plot._fullLayout.yaxis];
        const box = plot.getBoundingClientRect();
        return [box.left + x._offset + x.d2p(trace.x[2]), box.top + y._offset + y.d2p(trace.y[2]), trace.customdata[2]];
    }""")
    page.mouse.move(*place[:2])
    page.mouse.click(*place[:2])
    page.wait_for_function("!document.querySelector('#detail dd').textContent.startsWith('1')")
    assert page.inner_text('#detail dd') == str(place[2] + 1)


def test_ten_thousand_candidates_stay_smooth(open_page, pages):
    html = pages['many']
    assert len(html) < 12e6
    page = open_page(html, 'desktop')
    assert page.locator('#table tbody tr').count() == 50
    assert f'{MANY} of {MANY}' in page.inner_text('#count')
    page.click('button[data-column="id"]')
    assert ids(page)[:3] == ['p0', 'p1', 'p2']
    page.click('#next')
    assert ids(page)[0] == 'p50'
    assert page.locator('#table tbody tr').count() == 50  # never all, which is what would be slow
