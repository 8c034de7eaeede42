/* Writing protocol buffers: fields appended to a buffer, whose sticky error is looked at once, at
 * the end (https://protobuf.dev/programming-guides/encoding/). Pure. */
#ifndef KVMPROFS_PROTOBUF_H
#define KVMPROFS_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"

/* A number as it stands in a packed field. */
void protobuf_varint(struct buf *out, uint64_t n);
/* int64, uint64, bool. Nothing when n is 0, which readers take a missing field for (proto3). */
void protobuf_u64(struct buf *out, unsigned field, uint64_t n);
/* Also a string, which must be UTF-8. Written when empty, too. */
void protobuf_bytes(struct buf *out, unsigned field, const void *bytes, size_t n);
/* A message, or packed numbers; empties m. */
void protobuf_message(struct buf *out, unsigned field, struct buf *m);

#endif
