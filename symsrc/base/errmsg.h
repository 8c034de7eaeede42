/* An error that can be shown: a code for programs and one line for people.
 *
 * The line says what failed, on what, and why; what to do about it where that is known. Text
 * that comes from a guest needs no care: no control character gets into the line.
 */
#ifndef KVMPROFS_BASE_ERRMSG_H
#define KVMPROFS_BASE_ERRMSG_H

struct errmsg {
	int code; /* negative errno; 0: no error */
	char text[320];
};

/* Fills e (which may be NULL) and returns code, so that "return errmsg_set(...)" works. The
 * formatted text is cleaned like a log line, and cut to what fits. */
int errmsg_set(struct errmsg *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
