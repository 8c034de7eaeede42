#include "symsrc/base/errmsg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/text.h"

int errmsg_set(struct errmsg *e, int code, const char *fmt, ...)
{
	char raw[sizeof(e->text)];
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(e->text, sizeof(e->text), raw, strlen(raw));
	e->code = code;
	return code;
}
