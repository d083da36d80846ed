"""Split the C++ wrapper that AOTInductor writes around a model into the part that all models share and the model's own.

The shared part is the text of torch's `_inductor/codegen/aoti_runtime/interface.cpp`: the entry points and the
container of models. The model's part includes the same headers; `std::regex`, which they use once, costs more to
compile than all else in it, so it is declared `extern` there and left to the shared part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_END = '\n} // extern "C"\n'  # of the shared part
_SHARED = ("AOTInductorModelContainerCreate(", "AOTInductorModelContainerRun(", "aoti_runtime/model_container.h>")
_OWN = ("AOTInductorModel::AOTInductorModel(", "void AOTInductorModel::run_impl(")
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*\n", re.MULTILINE)

_ITERATOR = "std::string::const_iterator"
_EXTERN = f"""#include <regex>
#ifdef __GLIBCXX__
extern template class std::regex_traits<char>;
extern template class std::basic_regex<char>;
extern template class std::match_results<{_ITERATOR}>;
extern template class std::__detail::_Compiler<std::regex_traits<char>>;
extern template bool std::__detail::__regex_algo_impl<
    {_ITERATOR}, std::allocator<std::sub_match<{_ITERATOR}>>, char, std::regex_traits<char>>(
    {_ITERATOR}, {_ITERATOR}, std::match_results<{_ITERATOR}>&, const std::regex&,
    std::regex_constants::match_flag_type, std::__detail::_RegexExecutorPolicy, bool);
#endif
"""
# Words in the mangled names of all that is declared above.
LEFT_TO_SHARED = ("regex_traits", "basic_regex", "match_results", "_Compiler", "__regex_algo_impl")
# Taking its address makes the compiler emit the one function that uses `std::regex`, and all of it that is used.
_ANCHOR = "\n[[gnu::used]] static const auto batchexport_anchor = &torch::aot_inductor::parse_device_str;\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapperParts:
    """Two C++ files that together are a wrapper."""

    shared: str
    own: str


def split_wrapper(text: str, path: str) -> WrapperParts | None:
    """Return the two parts of the wrapper at `path`, of which this is the text; None for a file of another form."""
    head, mark, tail = text.partition(_END)
    if not mark or not all(word in head for word in _SHARED) or not all(word in tail for word in _OWN):
        return None
    shared = head + mark
    directives = "".join(_DIRECTIVE.findall(shared))
    line = shared.count("\n") + 1
    own = f'{directives}{_EXTERN}#line {line} "{path}"\n{tail}'
    return WrapperParts(shared=f'#line 1 "interface.cpp"\n{shared}{_ANCHOR}', own=own)
