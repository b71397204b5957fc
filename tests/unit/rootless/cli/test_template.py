"""Templates give what Go's text/template gives to podman and docker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cli.output import Row
from rootless.cli.template import Template, TemplateError

DOCUMENT: dict[str, object] = {
    "Id": "abc",
    "Name": "web",
    "RestartCount": 0,
    "Nothing": None,
    "Tty": False,
    "State": {"Status": "running", "Pid": 3, "Running": True},
    "Args": ["-c", "true"],
    "Config": {
        "Cmd": ["sh", "-c"],
        "Env": ["A=1", "B=2"],
        "Volumes": None,
        "Labels": {"b": "2", "a": "1", "x.y": "dotted"},
    },
    "Mounts": [
        {"Source": "/a", "Destination": "/b"},
        {"Source": "/c", "Destination": "/d"},
    ],
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None}},
}


def render(text: str) -> str:
    return Template(text).render(DOCUMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{.Id}} {{.State.Status}}", "abc running"),
        (r"{{.Id}}\t{{.Name}}\n", "abc\tweb\n"),
        ("{{.ID}}", "abc"),
        ("{{.State.Running}} {{.State.Pid}} {{.Tty}}", "true 3 false"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Args}}", "[-c true]"),
        ("{{.State}}", "{running 3 true}"),
        ("{{.Config.Labels}}", "map[a:1 b:2 x.y:dotted]"),
        ("{{.Config.Labels.a}}", "1"),
        ("{{.Config.Volumes}} {{json .Config.Volumes}}", "map[] null"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        ('{{index .Config.Labels "x.y"}}', "dotted"),
        ('{{index .Config.Labels "missing"}}', "<no value>"),
        ("{{index .Args 1}}", "true"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{with $c}}{{(index . 0).HostPort}}'
         "{{end}};{{end}}", "80/tcp=8080;81/tcp=;"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{.Src}}:{{$m.Dst}}{{end}}", "/a:/b,/c:/d"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ('{{range .Mounts}}{{if eq .Source "/c"}}{{break}}{{end}}{{.Source}}{{end}}', "/a"),
        ('{{range .Mounts}}{{if eq .Source "/a"}}{{continue}}{{end}}{{.Source}}{{end}}', "/c"),
        ("{{range $i := .Args}}{{$.Id}}{{end}}", "abcabc"),
        ("{{if .Tty}}t{{else}}f{{end}}", "f"),
        ("{{if .RestartCount}}a{{else if .Args}}b{{else}}c{{end}}", "b"),
        ("{{if .RestartCount}}a{{else if .Tty}}b{{else}}c{{end}}z", "cz"),
        ("{{with .Config}}{{len .Cmd}}{{end}}", "2"),
        ("{{with .Nothing}}x{{else}}{{.Id}}{{end}}", "abc"),
        ("{{$x := 1}}{{range .Mounts}}{{$x = 5}}{{end}}{{$x}}", "5"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ('{{eq .State.Status "created" "running"}}', "true"),
        ('{{ne .Id "x"}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 2 2}}', "true true true false true"),
        ("{{and .Id .Tty}} {{or .Tty .Id}} {{not .Tty}}", "false abc true"),
        ('{{and (eq .RestartCount 0) (ne .Id "x")}}', "true"),
        ("{{len .Id}} {{len .Config.Labels}} {{len .Nothing}}", "3 3 0"),
        ("{{slice .Id 1}} {{slice .Id 0 2}}", "bc ab"),
        ("{{json .Config.Cmd}}", '["sh","-c"]'),
        ("{{json .Config.Labels}}", '{"b":"2","a":"1","x.y":"dotted"}'),
        ("{{json .Nothing}}", "null"),
        ("{{.State | json}}", '{"Status":"running","Pid":3,"Running":true}'),
        ('{{join .Args " "}}', "-c true"),
        ('{{index (split "a,b" ",") 1}}', "b"),
        ('{{title "foo bar"}} {{upper "a"}} {{lower "A"}}', "Foo Bar A a"),
        ('{{pad "a" 1 2}}|{{pad "" 1 1}}|{{truncate "abcdef" 3}}', " a  ||abc"),
        ('{{printf "%s-%d %q %v %5s|%-5s|%05.1f %x %t %%" "a" 7 "q" .Args "r" "l" 1.25 255 true}}',
         'a-7 "q" [-c true]     r|l    |001.2 ff true %'),
        ('{{printf "%d" "x"}}', "%!d(string=x)"),
        ('{{printf "%s %s" "a"}}', "a %!s(MISSING)"),
        ('{{.Id | printf "%s%s" "x"}}', "xabc"),
        ('{{print "a" 1 2 "b"}}', "a1 2b"),
        ("{{`raw\\n`}}{{\"\\t\"}}", "raw\\n\t"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("a {{- .Id -}} b", "aabcb"),
        ("{{-1}}", "-1"),
        ("{{1.5}} {{0x10}} {{'a'}} {{true}}", "1.5 16 97 true"),
        ("{{(.State).Status}}", "running"),
    ],
)  # fmt: skip
def test_render_is_gos(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Foo}}", 'template: no field "Foo"'),
        ("{{.State.Foo}}", 'template: no field "Foo"'),
        ("{{.Id.Foo}}", "template: no field \"Foo\" in 'abc', which has no fields"),
        ("{{foo}}", 'template: function "foo" not defined'),
        ("{{", "template: unclosed action"),
        ("{{.Id", "template: unclosed action"),
        ("{{}}", None),
        ("{{if .Id}}", "template: unexpected EOF: {{end}} is missing"),
        ("{{end}}", "template: unexpected {{end}}"),
        ("{{.Id extra}}", 'template: function "extra" not defined'),
        ("{{.Id 1}}", "template: Field(chain=('Id',)) is no function and takes no arguments"),
        ("{{$x}}", "template: undefined variable $x"),
        ("{{(.Id}}", "template: unclosed left paren"),
        ("{{.Id)}}", "template: unexpected ')'"),
        ("{{index .Args 9}}", "template: index out of range: 9"),
        ('{{eq 1 "1"}}', "template: can't compare 1 with 1: different kinds"),
        ("{{range .Id}}{{end}}", "template: range can't iterate over abc"),
        ("{{join}}", "template: join: wrong number or kind of arguments"),
        ("{{break}}", "template: break or continue outside of range"),
        ("{{/* open", "template: unclosed comment"),
        ("{{.Id ^}}", "template: unexpected '^}}'"),
    ],
)
def test_wrong_templates_are_errors(text: str, message: str | None) -> None:
    if message is None:
        assert render(text) == ""
        return
    with pytest.raises(TemplateError) as caught:
        render(text)
    assert caught.value.message == message


def test_unknown_field_names_the_valid_ones() -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{.State.Foo}}")
    assert caught.value.remedy == "valid fields: Pid, Running, Status"


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(TemplateError, match="nested too deeply"):
        Template("{{if 1}}" * 200)
    with pytest.raises(TemplateError, match="nested too deeply"):
        Template("{{" + "(" * 200 + "}}")


def test_output_has_a_limit() -> None:
    bomb = '{{$x := printf "%1000000d" 1}}' + "{{range 1000}}{{$x}}{{end}}"
    with pytest.raises(TemplateError, match="larger than"):
        Template(bomb).render({})


def test_methods_take_arguments() -> None:
    row = Row({"Label": {"app": "web"}.get}, {})
    assert Template('{{.Label "app"}}').render(row) == "web"


def test_json_of_a_row_is_its_document() -> None:
    assert Template("{{json .}}").render(Row({"ID": "short"}, {"Id": "long"})) == '{"Id":"long"}'


@given(st.text("{}-.$|()\"`' =:,/*abIdrangeifd0 \n", max_size=30))
def test_any_text_gives_output_or_a_template_error(text: str) -> None:
    try:
        assert isinstance(render(text), str)
    except TemplateError as error:
        assert error.message.startswith("template: ")
