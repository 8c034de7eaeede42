/* Messages. Nothing below main() prints: it calls these, and main() decides where they go.
 *
 * A message is one line: no trailing newline, and control characters in it are shown as \xNN,
 * since names in it may come from a guest. Lines of more than LOG_LINE_MAX bytes are cut.
 * Thread-safe; errno stays as it was. A burst is limited to LOG_BURST lines a second below error
 * level; what was left out is counted in the next line that gets through.
 */
#ifndef KVMPROFS_BASE_LOG_H
#define KVMPROFS_BASE_LOG_H

#define LOG_LINE_MAX 1024
#define LOG_BURST    50

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* line: one safe line without a newline. May be called from any thread, one at a time. */
typedef void log_sink_fn(enum log_level level, const char *line);

/* NULL: standard error. Set it before other threads exist, or while none of them logs. */
void log_set_sink(log_sink_fn *sink);

/* Messages of a higher (more talkative) level than this one are dropped. Default: info. */
void log_set_level(enum log_level level);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
