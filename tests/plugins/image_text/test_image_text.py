import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_registry import Dataset, Record, UserError

JSONL = """\
{"image": "a.jpg", "caption": "A cat."}
{"image": "b.png", "caption": ["One", "Two"], "image_id": "coco_7"}

{"image": "sub/c, d.jpg", "caption": "Café", "question": "What?", "answers": ["x", "y"], "image_id": 5}
"""


def records(dataset: Dataset) -> list[Record]:
    return [dataset[index] for index in range(len(dataset))]


def texts(dataset: Dataset) -> list[tuple[str, ...]]:
    return [record.texts for record in records(dataset)]


@pytest.mark.parametrize("shape", ["lines", "byte-order mark and CRLF", "list", "dict"])
def test_json(shape: str, open_pairs) -> None:
    rows = [json.loads(line) for line in JSONL.splitlines() if line]
    content = {
        "lines": JSONL,
        "byte-order mark and CRLF": "\ufeff" + JSONL.replace("\n", "\r\n"),
        "list": json.dumps(rows, indent=1),
        "dict": json.dumps(dict(enumerate(rows))),
    }[shape]
    cat, two, asked = records(open_pairs(content))
    assert (cat.texts, two.texts, asked.texts) == (("A cat.",), ("One", "Two"), ("Café",))
    assert (asked.question, asked.answers, asked.image_id) == ("What?", ("x", "y"), 5)
    assert (cat.question, cat.answers) == (None, ())
    assert asked.name == "sub/c, d.jpg"
    assert all(record.image.is_file() for record in (cat, two, asked))


def test_csv_with_quoted_commas_quotes_and_line_breaks(open_pairs) -> None:
    content = '\ufeffimage,caption,image_id\r\na.jpg,"Red, green and ""blue""",1\r\n"sub/c, d.jpg","two\nlines",1\r\n'
    first, second = records(open_pairs(content))
    assert (first.texts, second.texts) == (('Red, green and "blue"',), ("two\nlines",))
    assert first.image_id == second.image_id == 1


def test_tsv_is_split_at_tabs_only_and_lone_quotes_are_text(open_pairs) -> None:
    content = '\ufeffimage\ttext\r\na.jpg\t"hello, he said\r\nb.png\t5" pipe, new\r\na.jpg\t"quoted ""well"""\r\n'
    assert texts(open_pairs(content)) == [('"hello, he said',), ('5" pipe, new',), ('quoted "well"',)]


def test_lists_in_a_cell_are_json(open_pairs) -> None:
    dataset = open_pairs('image\tcaptions\na.jpg\t["one", "two"]\nb.png\t[sic] a dog\na.jpg\t\n')
    assert texts(dataset) == [("one", "two"), ("[sic] a dog",), ()]


def test_questions_in_csv(open_pairs) -> None:
    asked, told = records(open_pairs("image,question,answer,caption\na.jpg,Why?,because,\nb.png,,,a dog\n"))
    assert (asked.question, asked.answers, asked.texts) == ("Why?", ("because",), ())
    assert (told.question, told.answers, told.texts) == (None, (), ("a dog",))


def test_other_names_of_columns(open_pairs) -> None:
    content = "path,alt,q,a,number\na.jpg,A cat,Who?,me,12\n"
    names = {"image": "path", "caption": "alt", "question": "q", "answer": "a", "image_id": "number"}
    (record,) = records(open_pairs(content, **{f"{name}_column": column for name, column in names.items()}))
    assert (record.texts, record.question, record.answers, record.image_id) == (("A cat",), "Who?", ("me",), 12)


def test_equal_paths_are_the_same_image_and_other_ids_are_kept_apart(open_pairs) -> None:
    a, b, again = records(open_pairs("image,caption\na.jpg,x\nb.png,y\na.jpg,z\n"))
    assert a.image_id == again.image_id != b.image_id
    named = records(open_pairs("image,caption,image_id\na.jpg,x,vg_1\nb.png,y,coco_1\na.jpg,z,0001\nb.png,z,1\n"))
    assert len({record.image_id for record in named[:3]}) == 3
    assert all(-(2**63) <= record.image_id < 2**63 for record in named)


def test_half_a_surrogate_pair_does_not_stop_a_run(open_pairs) -> None:
    assert texts(open_pairs('{"image": "a.jpg", "caption": "smile \\ud83d end"}')) == [("smile ? end",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("image,caption\n", "no records"),
        ("[]", "no records"),
        ("file,caption\na.jpg,x\n", r"pairs:2: this row has no .*'image'; it has file, caption"),
        ("image,title\na.jpg,x\n", "no 'caption' or 'text' or 'captions' or 'question'; it has image, title"),
        ('{"image": "a.jpg", "caption": "x"}\n{"caption": "y"}', "pairs:2: this row has no .*'image'"),
        ('{"image": 3, "caption": "x"}', "a text under 'image'"),
        ("[1, 2]", "pairs:1: this is a int, not an object"),
        ('{"image": "a.jpg", "caption": "x"}\n{"image"', "pairs:2: this is not JSON"),
        ("image,caption\na.jpg,x,y\n", r"pairs:2: this row has 3 columns, the header 2"),
        ("image\tcaption\na.jpg\n", r"pairs:2: this row has 1 columns, the header 2"),
        ('image,caption\na.jpg,"x\n', r"pairs:2: this is not CSV"),
        (b"image,caption\na.jpg,caf\xe9\n", "not UTF-8"),
        ("image,caption\na.jpg,x\n".encode("utf-16"), "not UTF-8"),
        (b'{"image": "a.jpg", "caption": "caf\xe9"}', "not UTF-8"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(content: str | bytes, message: str, open_pairs) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_pairs(content)
    assert "\n" not in str(caught.value)
    assert "pairs" in str(caught.value)


@pytest.mark.parametrize("image", ["../secret.jpg", "sub/../../secret.jpg", "{absolute}"])
def test_paths_that_leave_the_root_are_refused_unless_allowed(image: str, open_pairs, images) -> None:
    secret = images.parent / "secret.jpg"
    secret.write_bytes((images / "a.jpg").read_bytes())
    content = json.dumps({"image": image.format(absolute=secret), "caption": "x"})
    with pytest.raises(UserError, match=r"leads out of the image folder.*allow_absolute"):
        open_pairs(content)
    assert open_pairs(content, allow_absolute=True)[0].image.is_file()


def test_a_single_path_that_leaves_the_root_is_a_bad_record(open_pairs) -> None:
    rows = ["image,caption"] + ["a.jpg,x"] * 40 + ["../../etc/passwd,x"]
    dataset = open_pairs("\n".join(rows))
    with pytest.raises(ValueError, match="leads out"):
        dataset.read(40)


def test_some_missing_images_are_no_reason_to_refuse(open_pairs) -> None:
    dataset = open_pairs("image,caption\nno.jpg,x\na.jpg,y\n")
    assert [record.image.exists() for record in records(dataset)] == [False, True]
    with pytest.raises(UserError, match=r"0 of the first 32 images exist below it \(the first is 'no0\.jpg'\)"):
        open_pairs("image,caption\n" + "".join(f"no{number}.jpg,x\n" for number in range(50)))


def test_missing_file(open_pairs, images) -> None:
    with pytest.raises(UserError, match=r"gone\.csv: there is no such annotation file"):
        open_pairs("image,caption\na.jpg,x\n", annotations=images / "gone.csv")


def test_pickled_it_is_small(open_pairs) -> None:
    dataset = open_pairs("image,caption\n" + "".join(f"a.jpg,caption number {n}\n" for n in range(5000)))
    sent = pickle.dumps(dataset)
    assert len(sent) < 4000
    assert pickle.loads(sent)[4321] == dataset[4321]


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1)


@given(captions=LINES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_keeps_any_text(captions: list[str], open_pairs) -> None:
    content = "\n".join(json.dumps({"image": "a.jpg", "text": text}, ensure_ascii=False) for text in captions)
    assert texts(open_pairs(content)) == [(text,) for text in captions]
