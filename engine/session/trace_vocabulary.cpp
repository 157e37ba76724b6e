#include "engine/session/trace_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/tokenizer/listed_tokenizer.h"
#include "engine/tokenizer/vocab.h"

namespace layerscope::session {

compare::TraceVocabulary trace_vocabulary(const tokenizer::Tokenizer& tokenizer, int rows,
                                          FrameSpan frames) {
  compare::TraceVocabulary vocabulary;
  vocabulary.kind = tokenizer.model_name();
  vocabulary.rows = rows;
  std::set<std::int32_t> ids;
  for (const auto& frame : frames) {
    ids.insert(frame->id);
    if (frame->logits) {
      for (const capture::TopToken& token : frame->logits->top) {
        ids.insert(token.id);
      }
    }
  }
  for (const std::int32_t id : ids) {
    if (id >= 0 && id < rows && id < tokenizer.n_tokens()) {
      vocabulary.pieces.push_back(
          {id, std::string(tokenizer.piece(id)), static_cast<int>(tokenizer.type(id))});
    }
  }
  for (std::int32_t id = 0; id < rows; ++id) {
    if (tokenizer.is_usable(id)) {
      continue;
    }
    if (!vocabulary.unused.empty() && vocabulary.unused.back().second == id - 1) {
      vocabulary.unused.back().second = id;
    } else {
      vocabulary.unused.emplace_back(id, id);
    }
  }
  return vocabulary;
}

std::shared_ptr<const tokenizer::Tokenizer> trace_tokenizer(
    const compare::TraceVocabulary& vocabulary) {
  if (vocabulary.pieces.empty() || vocabulary.rows < 1) {
    return nullptr;
  }
  tokenizer::Vocab vocab;
  vocab.model = vocabulary.kind;
  const auto n = static_cast<std::size_t>(vocabulary.rows);
  vocab.pieces.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    vocab.pieces[i] = fmt::format("[{}]", i);
  }
  vocab.types.assign(n, tokenizer::TokenType::kControl);
  vocab.scores.assign(n, 0.0F);
  for (const compare::TraceVocabulary::Piece& piece : vocabulary.pieces) {
    vocab.pieces[static_cast<std::size_t>(piece.id)] = piece.text;
    vocab.types[static_cast<std::size_t>(piece.id)] = static_cast<tokenizer::TokenType>(piece.type);
  }
  for (const auto& [first, last] : vocabulary.unused) {
    for (std::int32_t id = first; id <= last; ++id) {
      vocab.types[static_cast<std::size_t>(id)] = tokenizer::TokenType::kUnused;
    }
  }
  return std::make_shared<tokenizer::ListedTokenizer>(std::move(vocab));
}

std::vector<bool> usable_rows(const compare::TraceVocabulary& vocabulary, int rows) {
  std::vector<bool> usable(static_cast<std::size_t>(std::max(rows, 0)), true);
  if (vocabulary.rows != rows) {
    return usable;
  }
  for (const auto& [first, last] : vocabulary.unused) {
    for (std::int32_t id = first; id <= last; ++id) {
      usable[static_cast<std::size_t>(id)] = false;
    }
  }
  return usable;
}

}  // namespace layerscope::session
