"""The types and heads of transformers, read from its tables without importing it."""

from __future__ import annotations

from pathlib import Path

from batchexport.toolchain import probe
from batchexport.toolchain.transformers import transformer_types, types_in

MAPPINGS = 'CONFIG_MAPPING_NAMES = OrderedDict([("bert", "BertConfig"), ("gpt2", "GPT2Config"), ("funnel", "F")])\n'
MORE = """
CONFIG_MAPPING_NAMES.update({"late": "LateConfig"})
CONFIG_MAPPING_NAMES = OrderedDict(**{"gpt-sw3": "GPT2Config"}, **CONFIG_MAPPING_NAMES)
"""
MODELS = """
MODEL_MAPPING_NAMES = OrderedDict([("bert", "BertModel"), ("gpt2", "GPT2Model"), ("funnel", ("F", "FBase"))])
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([("gpt2", "GPT2LMHeadModel")])
MODEL_FOR_ALL_MAPPING_NAMES = OrderedDict([*list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()), ("late", "LateFor")])
MODEL_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_MAPPING_NAMES)
MODEL_FOR_CAUSAL_LM_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
MODEL_FOR_ALL_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_ALL_MAPPING_NAMES)
class AutoModel(_BaseAutoModelClass):
    _model_mapping = MODEL_MAPPING
AutoModel = auto_class_update(AutoModel)
class AutoModelForCausalLM(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_CAUSAL_LM_MAPPING
class AutoModelForAll(_BaseAutoModelClass):
    _model_mapping = MODEL_FOR_ALL_MAPPING
"""


def test_each_head_has_the_types_of_its_table_and_those_that_share_their_configuration() -> None:
    found = types_in([MAPPINGS, MORE], MODELS)
    assert found is not None
    assert found.types == {"bert", "gpt2", "funnel", "late", "gpt-sw3"}
    assert found.heads == {
        "": {"bert", "gpt2", "gpt-sw3", "funnel"},
        "CausalLM": {"gpt2", "gpt-sw3"},
        "All": {"gpt2", "gpt-sw3", "late"},
    }


def test_sources_of_an_unknown_form_have_no_types_rather_than_too_few() -> None:
    assert types_in(["MAPPING = read()"], MODELS) is None
    assert types_in([MAPPINGS], "class AutoModel:\n    pass") is None
    assert types_in([MAPPINGS], MODELS.replace("_LazyAutoMapping(", "_Mapping(")) is None


def test_without_transformers_or_with_one_that_is_no_python_there_are_no_types(tmp_path: Path) -> None:
    assert transformer_types((str(tmp_path),)) is None
    folder = tmp_path / "transformers" / "models" / "auto"
    folder.mkdir(parents=True)
    (folder / "modeling_auto.py").write_text("def (:\n")
    assert transformer_types((str(tmp_path),)) is None


def test_the_installed_transformers_is_read() -> None:
    found = transformer_types(tuple(probe.import_path()))
    assert found is not None
    assert {"bert", "clip", "whisper", "gpt-sw3"} <= found.types
    assert "bert" in found.heads["SequenceClassification"]
    assert "bert" not in found.heads["ImageClassification"]
    assert len(found.heads) > 30
